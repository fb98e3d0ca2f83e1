-- usage: wrk -s wrk.lua URL -- BYTES
-- With BYTES above 0 every request is a POST with a body of that size. The
-- last line of the output is for the program that has started wrk.

function init(args)
   local bytes = tonumber(args[1])
   if bytes > 0 then
      wrk.method = "POST"
      wrk.body = string.rep("x", bytes)
   end
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format("bench %d %d %d %d %d %d\n",
      summary.requests, summary.duration, latency:percentile(50),
      latency:percentile(99), latency:percentile(99.9),
      e.connect + e.read + e.write + e.timeout + e.status))
end
