package page

// Samples are rows of data or answers of a model, with their pictures.
type Samples []Sample

// Sample is one of them.
type Sample struct {
	Title   string
	Tags    []string // a word or two each
	Picture Picture  // the zero Picture for none
	Parts   []Part
}

// Part is a text of a sample, such as a turn. Its line ends and spaces are kept.
type Part struct {
	Name   string
	Text   string // of more than 20,000 characters, only those are shown
	Folded bool   // closed until the reader opens it
}

func (Samples) check() error { return nil }

func (s Samples) write(w *writer) error {
	if err := w.execute("samples", nil); err != nil {
		return err
	}
	for _, one := range s {
		view := sampleView{one, nil, make([]partView, len(one.Parts))}
		if p := one.Picture; p.width > 0 {
			view.Picture = &pictureView{p.uri, p.alt, p.width, p.height}
		}
		for i, p := range one.Parts {
			shown, left := p.split()
			view.Parts[i] = partView{Part: p, Shown: shown}
			if left > 0 {
				view.Parts[i].Left = grouped(float64(left), 0)
			}
		}
		if err := w.execute("sample", view); err != nil {
			return err
		}
	}
	return w.execute("samples end", nil)
}

// sampleView is what the template of a sample needs.
type sampleView struct {
	Sample
	Picture *pictureView
	Parts   []partView
}

type partView struct {
	Part
	Shown string
	Left  string // the number of characters that are not shown; empty for none
}

// maxShown is the number of characters shown of a part: far above any answer that is kept, and a page of refused ones
// stays readable.
const maxShown = 20_000

func (p Part) split() (shown string, left int) {
	at, count := len(p.Text), 0
	for i := range p.Text {
		if count == maxShown {
			at = i
		}
		count++
	}
	return p.Text[:at], max(0, count-maxShown)
}
