package page

import (
	"strconv"
	"unicode/utf8"
)

// chart is what the template of a chart needs.
type chart struct {
	Title, Note string
	Legend      []key
	Frames      []frame
	Remarks     []string   // what is not drawn, what a smooth line is
	Values      *tableView // the chart in numbers
	Empty       string     // stands instead of a chart without values
}

// key explains the look of a series.
type key struct{ Look, Name string }

// frame is a plot with its axes. Places along x are percentages, so that the plot stretches with the window while its
// text keeps its size; places along y are pixels.
type frame struct {
	Name           string // of one of several frames; may be empty
	Summary        string // for those who do not see it
	Height         int
	XLabel, YLabel string
	XTicks, YTicks []mark
	Gutter         string // a class: room for the labels at the left
	Curves         []curve
	Bars           []bar
	UnitsX, UnitsY int
}

type mark struct{ At, Label string }

// curve is a series as SVG path data.
type curve struct{ Look, Raw, Smooth, Dots string }

type bar struct{ X, Width, Y, Height, Label string }

func newFrame(height int, x, y scale) frame {
	f := frame{Height: height, UnitsX: unitsX, UnitsY: unitsY}
	for _, t := range x.ticks {
		f.XTicks = append(f.XTicks, mark{percent(x.at(t.Value)), t.Label})
	}
	widest := 0
	for _, t := range y.ticks {
		f.YTicks = append(f.YTicks, mark{pixels(float64(height) * (1 - y.at(t.Value))), t.Label})
		widest = max(widest, utf8.RuneCountInString(t.Label))
	}
	switch {
	case widest <= 4:
		f.Gutter = "g4"
	case widest <= 7:
		f.Gutter = "g7"
	case widest <= 11:
		f.Gutter = "g11"
	default:
		f.Gutter = "g16"
	}
	return f
}

func percent(part float64) string { return decimal(100*part, 3) + "%" }

func pixels(v float64) string { return decimal(v, 1) }

func decimal(v float64, digits int) string {
	return withoutZeros(strconv.FormatFloat(v, 'f', digits, 64))
}

// look is the class of a series: its colour, and the dashes of its line, so that no colour is needed to tell it from
// others. After 36 series looks repeat.
func look(series int) string {
	const looks = 6
	return "c" + strconv.Itoa(series%looks) + " d" + strconv.Itoa((series+series/looks)%looks)
}
