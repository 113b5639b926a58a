package llava

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/png"

	"golang.org/x/image/draw"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Sizes of pictures that are sent on, by the original's web program: Conversation.process_image in
// llava/conversation.py.
const (
	longestSide  = 1344
	shortestSide = 672
)

// mostSent is the size of a picture's file from which on it is made smaller, also for our own workers.
const mostSent = 12 << 20

// encode writes pictures as PNG in base64. Those for the original's workers are made as small as by its web program.
func encode(pictures []*picture.RGB, own bool) ([]string, error) {
	list := make([]string, len(pictures))
	for i, p := range pictures {
		img := p.Image()
		if !own {
			img = shrink(img)
		}
		file, err := encodePNG(img)
		if err == nil && len(file) > mostSent/len(pictures) && own {
			file, err = encodePNG(shrink(img))
		}
		if err != nil {
			return nil, err
		}
		list[i] = base64.StdEncoding.EncodeToString(file)
	}
	return list, nil
}

func encodePNG(img image.Image) ([]byte, error) {
	var file bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	err := encoder.Encode(&file, img)
	return file.Bytes(), err
}

// shrink makes a picture with a longer side than 1,344 smaller.
func shrink(img image.Image) image.Image {
	w, h := sent(img.Bounds().Dx(), img.Bounds().Dy())
	if w == img.Bounds().Dx() && h == img.Bounds().Dy() {
		return img
	}
	small := image.NewNRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(small, small.Bounds(), img, img.Bounds(), draw.Src, nil)
	return small
}

// sent is the size in which a picture is sent.
func sent(w, h int) (int, int) {
	long, short := max(w, h), min(w, h)
	if long <= longestSide {
		return w, h
	}
	aspect := float64(long) / float64(short)
	shorter := max(1, int(min(longestSide/aspect, shortestSide, float64(short)))) // the original fails on 0
	longer := min(longestSide, int(float64(shorter)*aspect))
	if h > w {
		return shorter, longer
	}
	return longer, shorter
}
