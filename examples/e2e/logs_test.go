package e2e

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLogsOfTheApplication(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, c := range []struct{ by, level, want string }{
			{"log", "", `\w+`},
			{"stdout", "", `\w+`},
			{"stderr", "", `\w+`},
			{"errors", "", "error"},
			{"slog", "INFO", "info"},
			{"slog", "WARN", "warn"},
			{"slog", "ERROR", "error"},
		} {
			x.run(t, "by "+c.by+" "+c.level+" reach the error log", func(t *testing.T) {
				mark := x.log.mark()
				query := url.Values{"by": {c.by}, "level": {c.level}, "text": {"said " + token(t)}}
				assert.Equal(t, "logged\n", x.page(t, "/log?"+query.Encode()).body)
				line := x.log.want(t, mark, `said `+token(t))
				assert.Regexp(t, x.level(c.want), line)
				if c.by == "slog" {
					assert.Contains(t, line, "key=value")
				}
			})
		}
		x.run(t, "have the request where it is known", func(t *testing.T) {
			for _, by := range []string{"errors", "slog"} {
				mark := x.log.mark()
				x.page(t, "/log?level=WARN&by="+by+"&text="+token(t))
				line := x.log.want(t, mark, `\] .*`+token(t))
				if x.kind == nginx {
					assert.Regexp(t, `request: "GET /log`, line)
				} else {
					assert.Regexp(t, `\[client 127\.0\.0\.1[:\d]*\] \[[\w/+@-]+\]`, line)
				}
			}
		})
		x.run(t, "of several lines are several lines, each with its head", func(t *testing.T) {
			mark := x.log.mark()
			word := token(t)
			x.page(t, "/log?by=errors&text="+url.QueryEscape(word+" one\n"+word+" two\n"+word+" three"))
			for _, line := range []string{"one", "two", "three"} {
				got := x.log.want(t, mark, word+" "+line)
				assert.Regexp(t, x.level("error"), got)
			}
		})
		x.run(t, "cannot forge lines by control characters", func(t *testing.T) {
			mark := x.log.mark()
			word := token(t)
			x.page(t, "/log?by=errors&text="+url.QueryEscape(word+" a\rb\x1b[31m\x00c"))
			line := x.log.want(t, mark, word+" a")
			assert.NotContains(t, line, "\x1b")
			assert.NotContains(t, line, "\x00")
			assert.NotContains(t, line, "\r")
		})
	})
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "that come faster than they are written are dropped and counted, and hold nobody up", func(t *testing.T) {
			mark := x.log.mark()
			const n = 100_000
			word := token(t)
			a := x.page(t, "/flood?n=100000&token="+word)
			assert.Equal(t, 200, a.StatusCode)
			x.page(t, "/log?by=log&text=behind+"+word)
			x.log.want(t, mark, "behind "+word)
			lines := len(regexp.MustCompile(`flood `+word).FindAllString(x.log.since(mark), -1))
			dropped := x.figure(t, "log_dropped")
			assert.Positive(t, lines)
			assert.GreaterOrEqual(t, lines+dropped, n, "lines and dropped lines")
			if dropped > 0 {
				x.log.want(t, mark, `(?i)(drop|lost)`)
			}
			for line := range strings.Lines(x.log.since(mark)) {
				if strings.Contains(line, "flood "+word) {
					assert.Regexp(t, `flood `+word+` x{200} \d+`, line)
				}
			}
		})
	})
}
