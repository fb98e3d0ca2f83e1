package e2e

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A logFile is a log that a server writes.
type logFile struct {
	path string
}

// mark is the place where the log ends now.
func (l *logFile) mark() int64 {
	info, err := os.Stat(l.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// since returns what was written behind a mark.
func (l *logFile) since(mark int64) string {
	f, err := os.Open(l.path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.NewSectionReader(f, mark, 1<<30))
	return string(text)
}

// tail returns the last lines.
func (l *logFile) tail(n int) string {
	lines := strings.SplitAfter(l.since(max(0, l.mark()-64<<10)), "\n")
	return strings.Join(lines[max(0, len(lines)-n-1):], "")
}

// want waits for a line behind mark that matches the expression, and returns
// it.
func (l *logFile) want(t *testing.T, mark int64, expression string) string {
	t.Helper()
	line, ok := l.wait(mark, expression, 10*time.Second)
	if !ok {
		t.Fatalf("no line matches %q in the log:\n%s", expression, clip(l.since(mark), 6000))
	}
	return line
}

func (l *logFile) wait(mark int64, expression string, limit time.Duration) (string, bool) {
	re := regexp.MustCompile(`(?m)^.*` + expression + `.*$`)
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if line := re.FindString(l.since(mark)); line != "" {
			return line, true
		}
		if time.Now().After(end) {
			return "", false
		}
	}
}

// never checks that no line behind mark matches.
func (l *logFile) never(t *testing.T, mark int64, expression string) {
	t.Helper()
	re := regexp.MustCompile(`(?m)^.*` + expression + `.*$`)
	if line := re.FindString(l.since(mark)); line != "" {
		t.Errorf("the log must not say %q", line)
	}
}

// level is how a server marks the level of a line.
func (s *server) level(name string) string {
	if s.apache() {
		return `\[gsgi:` + name + `\]`
	}
	return `\[` + name + `\]`
}

func clip(text string, n int) string {
	if len(text) > n {
		return text[:n/2] + "\n[...]\n" + text[len(text)-n/2:]
	}
	return text
}

func countLines(text, expression string) int {
	return len(regexp.MustCompile(`(?m)^.*`+expression+`.*$`).FindAllString(text, -1))
}
