package page

// Bars compares amounts, such as the rejected answers by reason: a row each, with a bar as long as its value.
type Bars struct {
	Title string
	Note  string // below the title; may be empty
	Label string // what the rows are, such as "Reason"
	Value string // what the bars show, with the unit
	Bars  []Bar
}

// Bar is a row of Bars. A value that is not finite, or below 0, has no bar.
type Bar struct {
	Label string
	Value float64
	Text  string // the value as it is shown; empty for the value in four digits
}

func (Bars) check() error { return nil }

func (b Bars) write(w *writer) error {
	longest := 0.0
	for _, one := range b.Bars {
		if drawable(one.Value, false) {
			longest = max(longest, one.Value)
		}
	}
	type row struct{ Label, Text, Length string }
	rows := make([]row, len(b.Bars))
	for i, one := range b.Bars {
		rows[i] = row{one.Label, one.Text, "0%"}
		if one.Text == "" {
			rows[i].Text = compact(one.Value)
		}
		if drawable(one.Value, false) && one.Value > 0 {
			rows[i].Length = percent(max(one.Value/longest, 0.006)) // a short bar is seen
		}
	}
	return w.execute("bars", struct {
		Bars
		Rows []row
	}{b, rows})
}
