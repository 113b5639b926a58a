package picture

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Pinpoint is a size of the canvas that an image's tiles are cut from, in pixels: image_grid_pinpoints of LLaVA-NeXT.
type Pinpoint struct{ Width, Height int }

// String is the form WIDTHxHEIGHT.
func (p Pinpoint) String() string { return fmt.Sprintf("%dx%d", p.Width, p.Height) }

// maxTiles is how many tiles a pinpoint may have: more than twice those of LLaVA-OneVision's largest, 6 × 6. An image
// of 100 tiles of 24 × 24 patches would take 57,600 positions.
const maxTiles = 100

// The forms of a list as text.
var (
	gridList  = regexp.MustCompile(`^\(\d+x\d+\)(,\(\d+x\d+\))*$`)                   // (1x1),(2x2)
	gridRange = regexp.MustCompile(`^\((\d+)x(\d+)\),\.\.\.,\((\d+)x(\d+)\)$`)       // (1x1),...,(6x6)
	pixelList = regexp.MustCompile(`^\[[(\[]\d+,\d+[)\]](,[(\[]\d+,\d+[)\]])*,?\]$`) // [(336,672),[672,336]]
	brokenUp  = regexp.MustCompile(`\d\s+\d`)                                        // two numbers, not one
	numbers   = regexp.MustCompile(`\d+`)
)

// ParsePinpoints reads a list as --image_grid_pinpoints of LLaVA-NeXT takes it (llava/mm_utils.py,
// process_anyres_image), and checks it for tiles of edge pixels a side. Spaces are ignored.
//
//	(1x1),...,(6x6)           every grid of I × J tiles from the first to the last, J changing fastest
//	(1x2),(2x1),(2x2)         these grids, WIDTHxHEIGHT in tiles
//	[(336, 672), (672, 336)]  sizes in pixels, (width, height)
//
// Of the second form, LLaVA-NeXT's early versions make what is made here, later ones the range from its first grid to
// its last.
func ParsePinpoints(text string, edge int) (list []Pinpoint, err error) {
	bare := text
	if !brokenUp.MatchString(text) {
		bare = strings.Join(strings.Fields(text), "")
	}
	switch ends := gridRange.FindStringSubmatch(bare); {
	case ends != nil:
		list, err = expandGrids(ends[1:], edge)
	case gridList.MatchString(bare):
		list, err = pairs(bare, edge)
	case pixelList.MatchString(bare):
		list, err = pairs(bare, 1)
	default:
		return nil, fmt.Errorf(`pinpoints %.100q: write "(1x1),...,(6x6)" for every grid of tiles up to 6 × 6, `+
			`"(1x2),(2x1)" for some, or "[(%d, %d), (%d, %d)]" in pixels`, text, edge, 2*edge, 2*edge, edge)
	}
	if err == nil {
		err = CheckPinpoints(list, edge)
	}
	if err != nil {
		return nil, fmt.Errorf("pinpoints %.100q: %w", text, err)
	}
	return list, nil
}

// expandGrids is the grids from the first to the last, given as the four numbers of both.
func expandGrids(ends []string, edge int) (list []Pinpoint, err error) {
	var n [4]int
	for i, text := range ends {
		if n[i], err = pinpointNumber(text, 1); err != nil {
			return nil, err
		}
	}
	if n[0] < 1 || n[1] < 1 || n[2] < n[0] || n[3] < n[1] {
		return nil, fmt.Errorf("the range from %dx%d to %dx%d is empty or begins below 1x1: "+
			"the last grid must be at least as wide and as high as the first", n[0], n[1], n[2], n[3])
	}
	if n[2]*n[3] > maxTiles {
		return nil, tooManyTiles(fmt.Sprintf("grid %dx%d", n[2], n[3]), n[2], n[3])
	}
	for i := n[0]; i <= n[2]; i++ {
		for j := n[1]; j <= n[3]; j++ {
			list = append(list, Pinpoint{i * edge, j * edge})
		}
	}
	return list, nil
}

// pairs is the numbers in a text, two at a time and times unit.
func pairs(text string, unit int) (list []Pinpoint, err error) {
	found := numbers.FindAllString(text, -1)
	for i := 0; i+1 < len(found); i += 2 {
		var p Pinpoint
		if p.Width, err = pinpointNumber(found[i], unit); err != nil {
			return nil, err
		}
		if p.Height, err = pinpointNumber(found[i+1], unit); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// pinpointNumber is a number times unit, small enough that products of two do not overflow.
func pinpointNumber(text string, unit int) (int, error) {
	const most = maxTiles * maxImageSize
	n, err := strconv.Atoi(text)
	if err != nil || n > most/unit {
		return 0, fmt.Errorf("number %.20s is too large: a pinpoint has at most %d tiles", text, maxTiles)
	}
	return n * unit, nil
}

// PairPinpoints makes a list of pairs (width, height) in pixels and checks it for tiles of edge pixels a side.
func PairPinpoints(pairs [][]int, edge int) ([]Pinpoint, error) {
	list := make([]Pinpoint, len(pairs))
	for i, pair := range pairs {
		if len(pair) != 2 {
			return nil, fmt.Errorf("pinpoint %d of the list has %d numbers: it must have 2, such as [%d, %d]",
				i+1, len(pair), edge, 2*edge)
		}
		list[i] = Pinpoint{pair[0], pair[1]}
	}
	return list, CheckPinpoints(list, edge)
}

// CheckPinpoints returns an error that says what to set unless the list has pinpoints and each is made of whole tiles
// of edge pixels a side. Pinpoints may repeat.
func CheckPinpoints(list []Pinpoint, edge int) error {
	if len(list) == 0 {
		return errors.New(`the list of pinpoints is empty: give at least one, such as "(1x1),...,(2x2)"`)
	}
	for _, p := range list {
		columns, rows := p.Width/edge, p.Height/edge
		switch {
		case p.Width < 1 || p.Height < 1:
			return fmt.Errorf("pinpoint %v must have positive sides: use multiples of the tower's %d pixels such as %v",
				p, edge, Pinpoint{2 * edge, edge})
		case p.Width%edge != 0 || p.Height%edge != 0:
			up := func(side int) int { return (side + edge - 1) / edge * edge }
			return fmt.Errorf("pinpoint %v is not a multiple of the tower's %d pixels: use multiples such as %v",
				p, edge, Pinpoint{up(p.Width), up(p.Height)})
		case columns > maxTiles || rows > maxTiles || columns*rows > maxTiles:
			return tooManyTiles(fmt.Sprintf("pinpoint %v", p), columns, rows)
		}
	}
	return nil
}

func tooManyTiles(what string, columns, rows int) error {
	return fmt.Errorf("%s has %d × %d tiles, more than the limit of %d: use a smaller one",
		what, columns, rows, maxTiles)
}
