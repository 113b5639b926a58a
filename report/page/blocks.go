package page

import "fmt"

// Text is running text. Empty lines part its paragraphs.
type Text string

func (Text) check() error { return nil }

func (t Text) write(w *writer) error { return w.execute("text", paragraphs(string(t))) }

// Notice is a short text that the reader must not overlook.
type Notice string

func (Notice) check() error { return nil }

func (n Notice) write(w *writer) error { return w.execute("notice", paragraphs(string(n))) }

// Figures are the key numbers of a section, in large type.
type Figures []Figure

// Figure is one key number.
type Figure struct {
	Label string
	Value string // formatted, with its unit
	Note  string // what to compare it with; may be empty
}

func (Figures) check() error { return nil }

func (f Figures) write(w *writer) error { return w.execute("figures", f) }

// Table is a table of formatted values. The first cell of a row names the row. A table wider than the window scrolls in
// its own box.
type Table struct {
	Title   string // may be empty
	Note    string // below the title; may be empty
	Columns []Column
	Rows    [][]string
	Total   []string // the last row, set apart; may be empty
}

// Column describes a column of a table.
type Column struct {
	Title  string
	Number bool // its cells are numbers, and stand at the right
}

func (t Table) check() error {
	for i, row := range t.Rows {
		if len(row) != len(t.Columns) {
			return fmt.Errorf("table %q: row %d has %d cells for %d columns", t.Title, i+1, len(row), len(t.Columns))
		}
	}
	if len(t.Total) > 0 && len(t.Total) != len(t.Columns) {
		return fmt.Errorf("table %q: the total has %d cells for %d columns", t.Title, len(t.Total), len(t.Columns))
	}
	return nil
}

func (t Table) write(w *writer) error { return w.execute("table", tableView{t}) }

// tableView is what the template of a table needs.
type tableView struct{ Table }

// Cells joins the cells of a row with their columns.
func (t tableView) Cells(row []string) []cell {
	cells := make([]cell, len(row))
	for i, text := range row {
		cells[i] = cell{Text: text, Number: t.Columns[i].Number, Head: i == 0}
	}
	return cells
}

type cell struct {
	Text         string
	Number, Head bool
}

// Columns are blocks side by side where the window is wide enough, and one below the other elsewhere.
type Columns []Block

func (c Columns) check() error { return checkAll(c) }

func (c Columns) write(w *writer) error {
	if err := w.execute("columns", nil); err != nil {
		return err
	}
	for _, b := range c {
		if err := w.execute("column", nil); err != nil {
			return err
		}
		if err := b.write(w); err != nil {
			return err
		}
		if err := w.execute("column end", nil); err != nil {
			return err
		}
	}
	return w.execute("columns end", nil)
}
