package page

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// themes are the colours of the style sheet: light and dark.
func themes(t *testing.T) (themes []map[string]string) {
	for _, root := range regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(styleText, -1) {
		theme := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z0-9-]+): (#[0-9a-f]+)`).FindAllStringSubmatch(root[1], -1) {
			theme[m[1]] = m[2]
		}
		themes = append(themes, theme)
	}
	if len(themes) != 2 || len(themes[0]) != len(themes[1]) {
		t.Fatalf("%d themes", len(themes))
	}
	return themes
}

// luminance is WCAG's relative luminance of a colour such as #1b1f24.
func luminance(t *testing.T, colour string) (l float64) {
	t.Helper()
	if len(colour) == 4 {
		colour = "#" + colour[1:2] + colour[1:2] + colour[2:3] + colour[2:3] + colour[3:] + colour[3:]
	}
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v, err := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(colour, err)
		}
		c := float64(v) / 255
		if c <= 0.04045 {
			l += weight * c / 12.92
		} else {
			l += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return l
}

// Texts have a contrast of 4.5 and more, lines and edges that carry meaning of 3 (WCAG 2.2, 1.4.3 and 1.4.11).
func TestContrast(t *testing.T) {
	needed := map[[2]string]float64{{"text", "back"}: 4.5, {"soft", "back"}: 4.5, {"link", "back"}: 4.5,
		{"text", "card"}: 4.5, {"soft", "card"}: 4.5, {"text", "mark"}: 4.5, {"mark-edge", "back"}: 3,
		{"edge", "back"}: 3}
	for i := range 6 {
		needed[[2]string{fmt.Sprintf("c%d", i), "back"}] = 4.5
		needed[[2]string{fmt.Sprintf("r%d", i), "back"}] = 3
	}
	for i, theme := range themes(t) {
		for pair, least := range needed {
			a, b := luminance(t, theme[pair[0]]), luminance(t, theme[pair[1]])
			if contrast := (max(a, b) + 0.05) / (min(a, b) + 0.05); contrast < least {
				t.Errorf("theme %d: %s on %s has a contrast of %.2f, less than %.1f", i, pair[0], pair[1],
					contrast, least)
			}
		}
	}
}

// A series is known by its dashes alone, and by its colour alone.
func TestLooksDiffer(t *testing.T) {
	dashes, colours := map[string]bool{}, map[string]bool{}
	for i := range 6 {
		_, rest, _ := strings.Cut(styleText, fmt.Sprintf(".d%d.line { ", i))
		rule, _, _ := strings.Cut(rest, " }")
		if i == 0 {
			rule = "solid"
		}
		dashes[rule] = true
		if !strings.Contains(styleText, fmt.Sprintf(".c%d { --c: var(--c%d); --r: var(--r%d); }", i, i, i)) {
			t.Errorf("the style sheet lacks colour %d", i)
		}
		for _, theme := range themes(t) {
			colours[theme[fmt.Sprintf("c%d", i)]] = true
		}
	}
	if len(dashes) != 6 || len(colours) != 12 {
		t.Errorf("%d dashes and %d colours", len(dashes), len(colours))
	}
	looks, numbers := map[string]int{}, map[string]bool{}
	for i := range 36 {
		if before, known := looks[look(i)]; known {
			t.Errorf("series %d looks like series %d: %s", i, before, look(i))
		}
		looks[look(i)] = i
		if numbers[look(i)[3:]] = true; len(numbers) != min(i+1, 6) {
			t.Errorf("two of the first six series have the dashes %s", look(i)[3:])
		}
	}
}
