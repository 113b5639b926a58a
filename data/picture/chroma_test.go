package picture

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUpsample pins the rounding, which a bound of some levels on whole images would not notice. Values worked out by
// hand from the formulas of libjpeg-turbo's jdsample.c and libwebp's upsampling.c.
func TestUpsample(t *testing.T) {
	for _, test := range []struct {
		name     string
		as       chroma
		byX, byY int
		width    int
		y        int
		expect   []uint8
	}{
		{"JPEG 4:2:0 top", libjpeg, 2, 2, 6, 0, []uint8{0, 25, 75, 125, 176, 201}},
		{"JPEG 4:2:0", libjpeg, 2, 2, 6, 1, []uint8{10, 30, 70, 121, 183, 214}},
		{"WebP", libwebp, 2, 2, 6, 1, []uint8{10, 30, 70, 121, 183, 215}},
		{"JPEG 4:2:0 odd width", libjpeg, 2, 2, 5, 1, []uint8{10, 30, 70, 121, 183, 214}},
		{"JPEG 4:2:0 narrow", libjpeg, 2, 2, 4, 1, []uint8{0, 0, 100, 100}},
		{"JPEG 4:2:2", libjpeg, 2, 1, 6, 0, []uint8{0, 25, 75, 125, 176, 201}},
		{"JPEG 4:4:0 top", libjpeg, 1, 2, 3, 0, []uint8{0, 100, 201}},
		{"JPEG 4:4:0 odd", libjpeg, 1, 2, 3, 1, []uint8{10, 90, 215}},
		{"JPEG 4:4:0 even", libjpeg, 1, 2, 3, 2, []uint8{30, 70, 241}},
		{"JPEG 4:4:0 bottom", libjpeg, 1, 2, 3, 3, []uint8{40, 60, 255}},
		{"JPEG 4:1:1", libjpeg, 4, 1, 8, 0, []uint8{0, 0, 0, 0, 100, 100, 100, 100}},
		{"JPEG 4:1:0", libjpeg, 4, 2, 8, 3, []uint8{40, 40, 40, 40, 60, 60, 60, 60}},
		{"JPEG 4:4:4", libjpeg, 1, 1, 3, 1, []uint8{40, 60, 255}},
	} {
		// two rows of three, and what a JPEG stores beyond the edge
		samples := []uint8{0, 100, 201, 99, 40, 60, 255, 99}
		p := test.as.plane(samples, 4, ceilDiv(test.width, test.byX), 2, test.byX, test.byY)
		if diff := cmp.Diff(test.expect, p.row(test.y)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestColourEquations(t *testing.T) {
	got := make([]uint8, 9)
	jfifRow(got, []uint8{100, 0, 255}, []uint8{90, 0, 255}, []uint8{200, 0, 255})
	if diff := cmp.Diff([]uint8{201, 62, 33, 0, 135, 0, 255, 121, 255}, got); diff != "" {
		t.Errorf("JFIF (-want +got):\n%s", diff)
	}
	vp8Row(got, []uint8{16, 235, 100}, []uint8{128, 128, 0}, []uint8{128, 128, 255})
	if diff := cmp.Diff([]uint8{0, 0, 0, 255, 255, 255, 255, 45, 0}, got); diff != "" {
		t.Errorf("VP8 (-want +got):\n%s", diff)
	}
}
