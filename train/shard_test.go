package train

import (
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/recipes"
)

func TestPixelsSuitOneProcessor(t *testing.T) {
	d := &dataset{Reading: &Reading{Processor: data.CLIPProcessor(28)}, stage: &recipes.Stage{Image: "pad"}}
	if err := d.suits(nil); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(p *data.Pixels){
		"": func(*data.Pixels) {},
		"have 56 pixels a side, the tower takes 28":    func(p *data.Pixels) { p.Size = 56 },
		"with image: square, the stage has image: pad": func(p *data.Pixels) { p.Aspect = "square" },
		"another preprocessor_config.json":             func(p *data.Pixels) { p.Processor = string(data.SigLIPProcessor(28).JSON()) },
	} {
		stored := *d.pixels()
		spoil(&stored)
		if err := d.suits(&stored); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}
