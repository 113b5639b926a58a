package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/image/webp"
)

// webpDecode decodes the image of a WebP file. Of a file in the extended format
// (developers.google.com/speed/webp/docs/riff_container) it takes the chunk with the colours, and of an animation that
// of the first frame, which lies on a black canvas as in libwebp's WebPAnimDecoder. Alpha is not read: it is dropped.
func webpDecode(file []byte) (*RGB, error) {
	if len(file) < 30 || uint64(binary.LittleEndian.Uint32(file[4:]))+8 > uint64(len(file)) {
		return nil, io.ErrUnexpectedEOF
	}
	if string(file[12:16]) != "VP8X" {
		return webpStill(file)
	}
	canvas := webpFrame{width: uint24(file[24:]) + 1, height: uint24(file[27:]) + 1}
	frame, err := canvas.first(file[12:], file[20]&2 != 0)
	if err != nil {
		return nil, err
	}
	config, err := webp.DecodeConfig(bytes.NewReader(frame.file))
	if err != nil {
		return nil, err
	}
	if config.Width != frame.width || config.Height != frame.height || frame.x+frame.width > canvas.width ||
		frame.y+frame.height > canvas.height {
		return nil, errors.New("the sizes of its frame and its header differ")
	}
	img, err := webpStill(frame.file)
	if err != nil || img.W == canvas.width && img.H == canvas.height {
		return img, err
	}
	out := newRGB(canvas.width, canvas.height)
	for y := range img.H {
		copy(out.Pix[3*((frame.y+y)*out.W+frame.x):], img.Pix[3*y*img.W:][:3*img.W])
	}
	return out, nil
}

func webpStill(file []byte) (*RGB, error) {
	img, err := webp.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	return webpRGB(img)
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// webpFrame is a frame at its place on the canvas.
type webpFrame struct {
	x, y, width, height int
	file                []byte // a WebP file in the simple format
}

// first finds the first frame among chunks.
func (canvas webpFrame) first(chunks []byte, animated bool) (webpFrame, error) {
	for len(chunks) >= 8 {
		length := int(binary.LittleEndian.Uint32(chunks[4:]))
		if length > len(chunks)-8 {
			return canvas, io.ErrUnexpectedEOF
		}
		body := chunks[8 : 8+length]
		switch name := string(chunks[:4]); {
		case name == "ANMF" && animated && length > 16:
			frame := webpFrame{x: 2 * uint24(body), y: 2 * uint24(body[3:]), width: uint24(body[6:]) + 1,
				height: uint24(body[9:]) + 1}
			return frame.first(body[16:], false)
		case (name == "VP8 " || name == "VP8L") && !animated:
			padded := length + length%2
			canvas.file = binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(4+8+padded))
			canvas.file = append(append(canvas.file, "WEBP"...), chunks[:8+length]...)
			canvas.file = append(canvas.file, make([]byte, padded-length)...)
			return canvas, nil
		}
		chunks = chunks[min(8+length+length%2, len(chunks)):]
	}
	return canvas, errors.New("it has no image")
}
