package parity

import (
	"regexp"
	"testing"
)

// TestDifferencesAreDocumented compares the rows of the documentation with
// those that cases name.
func TestDifferencesAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([\w-]+) \| `).FindAllStringSubmatch(world.differences, -1) {
		if row[1] != "row" {
			documented[row[1]] = true
		}
	}
	for row := range rows() {
		if !documented[row] {
			t.Errorf("DIFFERENCES.md has no row %q", row)
		}
	}
	for row := range documented {
		if !rows()[row] {
			t.Errorf("no case shows the row %q of DIFFERENCES.md", row)
		}
	}
}
