package page_test

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/llavatrain/llavatrain/report/page"
)

var written = flag.String("write", "", "write the page with every block to this file, to look at it")

func Example() {
	report := page.Page{
		Title: "Words",
		Sections: []page.Section{{Title: "Counts", Blocks: []page.Block{
			page.Table{
				Columns: []page.Column{{Title: "Word"}, {Title: "Times", Number: true}},
				Rows:    [][]string{{"a", "12"}, {"<b>", "3"}},
			},
		}}},
	}
	var out bytes.Buffer
	if err := report.Write(&out); err != nil {
		fmt.Println(err)
	}
	fmt.Println(bytes.Contains(out.Bytes(), []byte(`<th scope="row" dir="auto">&lt;b&gt;</th>`)))
	// Output: true
}

// The page that is looked at in a browser: go test ./report/page -run Every -write /tmp/page.html.
func TestEveryBlockIsWritten(t *testing.T) {
	var out bytes.Buffer
	if err := everyBlock(t).Write(&out); err != nil {
		t.Fatal(err)
	}
	readPage(t, out.Bytes())
	if *written != "" {
		if err := os.WriteFile(*written, out.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// everyBlock is a report with every block, as the two kinds of report use them.
func everyBlock(t *testing.T) page.Page {
	return page.Page{
		Title: "my-instruct: 20,000 rows from captions and boxes",
		Lead: "Instruction data that a chat model wrote about pictures it did not see. Read the samples before you " +
			"train on it.",
		Sections: []page.Section{
			{Title: "Overview", Blocks: overview()},
			{Title: "Rejected answers", Blocks: rejected()},
			{Title: "Lengths", Blocks: lengths()},
			{Title: "Samples", Blocks: []page.Block{samples(t)}},
			{Title: "Training", Blocks: curves()},
			{Title: "Settings", Folded: true, Blocks: []page.Block{page.Table{
				Columns: []page.Column{{Title: "Key"}, {Title: "Value"}},
				Rows: [][]string{{"model", "a-chat-model"}, {"temperature", "0.7"},
					{"prompts", "3f2a9c01d7be"}, {"endpoint", "localhost:8000"}},
			}}},
		},
		Foot: "Written by llavatrain synth. The same ledger gives the same report.",
	}
}

func overview() []page.Block {
	return []page.Block{
		page.Notice("The run ended before all rows were made: the budget of 40.00 is spent. Run it again with a " +
			"larger budget; answers that are there are not paid again."),
		page.Figures{
			{Label: "Rows", Value: "18,204", Note: "of 20,000 asked for"},
			{Label: "Spent", Value: "39.98", Note: "maybe 0.41 more"},
			{Label: "Requests", Value: "19,377"},
			{Label: "Accepted", Value: "93.9 %"},
			{Label: "Cached input", Value: "87 %", Note: "of 38.1 M tokens"},
		},
		page.Table{
			Title: "Counts and money by kind", Note: "Money is in the unit of the recipe's prices.",
			Columns: []page.Column{{Title: "Kind"}, {Title: "Scenes", Number: true}, {Title: "Requests", Number: true},
				{Title: "Accepted", Number: true}, {Title: "Rejected", Number: true}, {Title: "Retried", Number: true},
				{Title: "Input tokens", Number: true}, {Title: "Output tokens", Number: true},
				{Title: "Money", Number: true}, {Title: "a row", Number: true}},
			Rows: [][]string{
				{"conversation", "7,341", "7,512", "6,904", "608", "171", "13,803,112", "4,112,820", "14.02",
					"0.00203"},
				{"detail", "2,911", "2,950", "2,801", "149", "39", "6,402,001", "322,410", "6.91", "0.00247"},
				{"reasoning", "9,748", "8,915", "8,499", "416", "62", "17,911,873", "1,204,530", "19.05", "0.00224"},
			},
			Total: []string{"all", "20,000", "19,377", "18,204", "1,173", "272", "38,116,986", "5,639,760", "39.98",
				"0.00220"},
		},
	}
}

func rejected() []page.Block {
	return []page.Block{page.Columns{
		page.Bars{Title: "By reason", Label: "Reason", Value: "Answers", Bars: []page.Bar{
			{Label: "source", Value: 412}, {Label: "refusal", Value: 260}, {Label: "too_few_turns", Value: 187},
			{Label: "repetition", Value: 121}, {Label: "coordinates", Value: 98}, {Label: "shape", Value: 66},
			{Label: "language", Value: 28}, {Label: "example_leak", Value: 1}}},
		page.Bars{Title: "Money spent on them", Note: "An answer that is rejected is paid all the same.",
			Label: "Kind", Value: "Money", Bars: []page.Bar{{Label: "conversation", Value: 1.24, Text: "1.24"},
				{Label: "detail", Value: 0.37, Text: "0.37"}, {Label: "reasoning", Value: 0.93, Text: "0.93"},
				{Label: "a kind whose name is longer than is usual", Value: 0, Text: "0.00"}}},
	}}
}

func lengths() []page.Block {
	random := rand.New(rand.NewPCG(1, 2))
	words := func(n int, mean, spread float64) (values []float64) {
		for range n {
			values = append(values, math.Round(max(20, math.Exp(math.Log(mean)+spread*random.NormFloat64()))))
		}
		return values
	}
	turns := make([]float64, 6904)
	for i := range turns {
		turns[i] = 2 + float64(random.IntN(4)+random.IntN(4))
	}
	return []page.Block{page.Columns{
		page.Histogram{Title: "Length of answers", X: "words", Y: "answers", Groups: []page.Group{
			{Name: "conversation", Values: words(6904, 60, 0.5)}, {Name: "detail", Values: words(2801, 110, 0.3)},
			{Name: "reasoning", Values: words(8499, 150, 0.25)}}},
		page.Histogram{Title: "Turns of conversations", X: "pairs of question and answer", Y: "rows",
			Groups: []page.Group{{Name: "conversation", Values: turns}}},
	}}
}

func samples(t *testing.T) page.Samples {
	wide, tall := thumbnail(t, 640, 427, "A red disc above a green meadow"), thumbnail(t, 300, 480, "A disc at dusk")
	context := "A man rides a red bicycle along a canal.\nA cyclist passes moored boats.\n\n" +
		"bicycle: [0.21, 0.4, 0.63, 0.92]\nperson: [0.25, 0.13, 0.55, 0.8]\nboat: [0.7, 0.31, 1.0, 0.62]"
	return page.Samples{
		{Title: "000000123456-conversation", Tags: []string{"conversation", "accepted"}, Picture: wide,
			Parts: []page.Part{
				{Name: "Context", Text: context, Folded: true},
				{Name: "Question", Text: "What is the man riding?"},
				{Name: "Answer", Text: "He is riding a red bicycle along the canal, past a row of moored boats."},
				{Name: "Question", Text: "Is it likely that he came a long way?"},
				{Name: "Answer", Text: "Nothing in the scene says so: he carries no luggage, wears everyday " +
					"clothes, and rides an upright city bicycle, all of which suggest a short trip."}}},
		{Title: "000000123456-reasoning", Tags: []string{"reasoning", "rejected: source"}, Picture: tall,
			Parts: []page.Part{
				{Name: "Question", Text: "Why might the boats be moored here?"},
				{Name: "Answer", Text: "According to the captions, the boats are moored. <script>alert(1)</script> " +
					"\u202eabc\u202c See https://example.com/?q=1&r=2 \x1b[31mred\x07"}}},
		{Title: "without-picture-detail", Tags: []string{"detail"},
			Parts: []page.Part{
				{Name: "Before", Text: "The picture shows a disc."},
				{Name: "After", Text: "تظهر الصورة قرصًا أحمر فوق مرج أخضر، وفي الخلفية سماء زرقاء."},
				{Name: "Long word", Text: string(bytes.Repeat([]byte("unbroken"), 40))}}},
	}
}

func thumbnail(t *testing.T, width, height int, alt string) page.Picture {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.RGBA{uint8(120 + 80*y/height), uint8(170 + 40*y/height), 235, 255}
			if y > height*2/3 {
				c = color.RGBA{70, uint8(120 + (x*7+y*13)%40), 60, 255}
			}
			if math.Hypot(float64(x-width/2), float64(y-height/3)) < float64(min(width, height))/5 {
				c = color.RGBA{214, 60, 50, 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	p, err := page.Thumbnail(img, alt, 16_000)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// loss is a noisy curve that falls, with a spike, and a few values that are not finite.
func loss(seed uint64, n int, start, end float64) (points []page.Point) {
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		y := end + (start-end)*math.Exp(-6*float64(i)/float64(n)) + 0.12*random.NormFloat64()*math.Sqrt(end)
		switch {
		case i == n*2/3:
			y += 3
		case i > n/2 && i < n/2+n/50:
			y = math.NaN()
		}
		points = append(points, page.Point{X: float64(i + 1), Y: y})
	}
	return points
}

func curves() []page.Block {
	var rate, head []page.Point
	for i := range 1000 {
		x := float64(i + 1)
		factor := min(x/30, 0.5*(1+math.Cos(math.Pi*x/1000)))
		rate = append(rate, page.Point{X: x, Y: 2e-5 * factor})
		head = append(head, page.Point{X: x, Y: 1e-3 * factor})
	}
	norm := loss(9, 1000, 4, 1)
	for i := range norm {
		norm[i].Y = math.Exp(norm[i].Y)
	}
	var memory []page.Point
	for i := range 60 {
		memory = append(memory, page.Point{X: float64(i * 17), Y: 61.2 + float64(i%7)/10})
	}
	var many []page.Series
	for i := range 7 {
		points := loss(uint64(i), 40, 3, 1+float64(i)/2)
		many = append(many, page.Series{Name: fmt.Sprint("part ", i+1), Points: points})
	}
	return []page.Block{
		page.Lines{Title: "Loss", Note: "Mean over the answers' tokens.", X: "step", Y: "loss", Smooth: 101,
			Series: []page.Series{{Name: "with pictures", Points: loss(1, 10_000, 6, 1.4)},
				{Name: "text only", Points: loss(2, 10_000, 4.5, 0.8)}}},
		page.Columns{
			page.Lines{Title: "Learning rate", X: "step", Y: "learning rate", Log: true, Series: []page.Series{
				{Name: "language, vision", Points: rate}, {Name: "projector", Points: head}}},
			page.Lines{Title: "Gradient norm", X: "step", Y: "norm before clipping", Log: true, Smooth: 25,
				Series: []page.Series{{Name: "all", Points: norm}}},
			page.Lines{Title: "Memory", X: "step", Y: "GiB", Series: []page.Series{{Name: "peak", Points: memory}}},
			page.Lines{Title: "Evaluation", X: "step", Y: "loss",
				Series: []page.Series{{Name: "held out", Points: []page.Point{{X: 500, Y: 1.21}}}}},
			page.Lines{Title: "Seven series", X: "step", Y: "loss", Series: many},
			page.Lines{Title: "Nothing yet", X: "step", Y: "loss", Series: []page.Series{{Name: "none"}}},
		},
		page.Text("The curves are those of a run of 10,000 steps.\n\nThe second paragraph of a text."),
	}
}
