package main

import (
	"cmp"
	"fmt"
	"html"
	"os"
	"slices"
	"strings"
)

const (
	plotWidth  = 760
	plotLabel  = 190 // room for the names
	plotNumber = 90  // and for the figures
	plotBar    = 18
	plotTitle  = 34
)

// plot draws a bar for each case, group by group, longest first.
func (r *report) plot(path string) error {
	var b strings.Builder
	y := 40
	for begin := 0; begin < len(r.Cases); {
		end := begin
		for end < len(r.Cases) && r.Cases[end].Group == r.Cases[begin].Group {
			end++
		}
		y = plotGroup(&b, y, r.Cases[begin:end])
		begin = end
	}
	text := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
<text x="10" y="20" font-size="14">Requests per second, %s, %s</text>
%s</svg>
`, plotWidth, y+10, html.EscapeString(r.Machine), r.Date, b.String())
	return os.WriteFile(path, []byte(text), 0o644)
}

// plotGroup returns where the next one begins.
func plotGroup(b *strings.Builder, y int, rows []row) int {
	rows = slices.SortedFunc(slices.Values(rows), func(a, b row) int { return cmp.Compare(b.Median, a.Median) })
	most := rows[0].Max
	fmt.Fprintf(b, `<text x="10" y="%d" font-weight="bold">%s</text>`+"\n", y+plotTitle-14, html.EscapeString(rows[0].Group))
	y += plotTitle - 8
	room := float64(plotWidth - plotLabel - plotNumber - 10)
	for _, x := range rows {
		length := func(rate float64) float64 { return rate / most * room }
		middle := y + plotBar/2 - 2
		fill := "#9aa5b1"
		if ours(x.Case) {
			fill = "#2f7ed8"
		}
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, plotLabel-6, y+plotBar-6, html.EscapeString(x.Case))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, plotLabel, y, length(x.Median), plotBar-4, fill)
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="black"/>`,
			plotLabel+length(x.Min), plotLabel+length(x.Max), middle, middle)
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%.0f</text>`+"\n", plotWidth-10, y+plotBar-6, x.Median)
		y += plotBar
	}
	return y
}

// ours says whether a case is served by GSGI.
func ours(name string) bool {
	return strings.Contains(name, "_http") || strings.Contains(name, "_gateway")
}
