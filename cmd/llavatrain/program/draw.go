package program

import (
	"fmt"
	"io"

	"github.com/llavatrain/llavatrain/data/picture"
)

// DrawBlocks draws an image 32 characters wide: each upper-half block shows two pixels, one above the other.
func DrawBlocks(out io.Writer, p *picture.RGB) {
	const width = 32
	scale := max(1, p.W/width)
	pixel := func(x, y int) []uint8 {
		at := 3 * (min(y, p.H-1)*p.W + min(x, p.W-1))
		return p.Pix[at : at+3]
	}
	for y := 0; y < p.H; y += 2 * scale {
		fmt.Fprint(out, "  ")
		for x := 0; x < p.W; x += scale {
			up, down := pixel(x, y), pixel(x, y+scale)
			fmt.Fprintf(out, "\x1b[38;2;%d;%d;%dm\x1b[48;2;%d;%d;%dm▀", up[0], up[1], up[2], down[0], down[1], down[2])
		}
		fmt.Fprint(out, "\x1b[0m\n")
	}
}
