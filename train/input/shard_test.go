package input

import (
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/recipes"
)

func TestPixelsSuitOneProcessor(t *testing.T) {
	preprocessor := &Preprocessor{Processors: []*picture.Processor{picture.CLIPProcessor(28)}}
	d := &Dataset{Preprocessor: preprocessor, Stage: &recipes.Stage{Image: "pad"}}
	if err := d.suits(nil); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(p *rows.Pixels){
		"": func(*rows.Pixels) {},
		"have 56 pixels a side, the tower takes 28":    func(p *rows.Pixels) { p.Size = 56 },
		"with image: square, the stage has image: pad": func(p *rows.Pixels) { p.Aspect = "square" },
		"preprocessor_config.json that differs": func(p *rows.Pixels) {
			p.Processor = string(picture.SigLIPProcessor(28).JSON())
		},
	} {
		stored := *d.pixels()
		spoil(&stored)
		if err := d.suits(&stored); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}
