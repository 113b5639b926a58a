package rows

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/data/picture"
)

// BenchmarkPhotos turns each JPEG of the folder LLAVATRAIN_PHOTOS into normalised pixels for a tower of 336, padded,
// one after another: from the files, and from shards that hold the pixels. scripts/loader.sh runs it beside Pillow and
// transformers.
func BenchmarkPhotos(b *testing.B) {
	files, err := filepath.Glob(filepath.Join(os.Getenv("LLAVATRAIN_PHOTOS"), "*.jpg"))
	if err != nil || len(files) == 0 {
		b.Skip("LLAVATRAIN_PHOTOS names no folder with *.jpg")
	}
	processor := picture.CLIPProcessor(336)
	prepare := func(path string) []uint8 {
		file, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		img, err := picture.Decode(file)
		if err != nil {
			b.Fatal(err)
		}
		return processor.Prepare(img, "pad")
	}
	values := make([]float32, 3*336*336)
	b.Run("from=files", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			normalise(values, prepare(files[i%len(files)]), processor)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
	})
	b.Run("from=pixel-shards", func(b *testing.B) {
		shards := shardsOf(b, len(files), func(i int) picture.Image {
			return picture.Image{Path: files[i], Prepared: &picture.Picture{Pixels: prepare(files[i])}}
		})
		for i := 0; b.Loop(); i++ {
			record, err := shards.Record(i * 7919 % len(files))
			if err != nil {
				b.Fatal(err)
			}
			normalise(values, record.Images[0].Prepared.Pixels, processor)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
	})
}

// normalise does what the tower does on its device, so that the comparison has everything in it.
func normalise(values []float32, pixels []uint8, p *picture.Processor) {
	size := len(pixels) / 3
	for c := range 3 {
		scale, shift := 1/(255*float32(p.Std[c])), float32(p.Mean[c]/p.Std[c])
		plane := values[c*size : (c+1)*size]
		for i, level := range pixels[c*size : (c+1)*size] {
			plane[i] = float32(level)*scale - shift
		}
	}
}
