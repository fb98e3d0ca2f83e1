// Bench measures the servers with GSGI beside what one would use instead, and
// writes bench.json and bench.svg into the output directory.
//
// All processes of a server under test run on the first core, the load
// generator on the second. The cases of a group take turns, several rounds of
// them, so that a change in the machine meets all alike. Of the rounds the
// median counts; a ratio is the median of those of the rounds. The servers of
// the login page start anew for every third of its rounds.
//
//	bench [-run PATTERN] [-seconds N] [-rounds N] [-out DIR]
package main
