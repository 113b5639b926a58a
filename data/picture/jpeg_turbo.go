//go:build turbojpeg

package picture

/*
#cgo LDFLAGS: -ljpeg
#include <setjmp.h>
#include <stdio.h>
#include <jpeglib.h>

#ifndef LIBJPEG_TURBO_VERSION
#error "the tag turbojpeg needs libjpeg-turbo: another libjpeg gives other bytes"
#endif

typedef struct {
  struct jpeg_error_mgr functions; // first: libjpeg hands back a pointer to it
  jmp_buf stop;
} failure;

static void fail(j_common_ptr info) { longjmp(((failure *)info->err)->stop, 1); }
static void keep_quiet(j_common_ptr info) { (void)info; }

static void bound_scans(j_common_ptr info) {
  if (((j_decompress_ptr)info)->input_scan_number > *(const int *)info->client_data) {
    fail(info);
  }
}

// Coefficients without their last bits: a progressive file with missing scans.
static int lacks_scans(const struct jpeg_decompress_struct *d) {
  for (int c = 0; d->progressive_mode && c < d->num_components; c++) {
    for (int k = 0; k < DCTSIZE2; k++) {
      if (d->coef_bits[c][k] != 0) {
        return 1;
      }
    }
  }
  return 0;
}

// Decodes a file of w x h pixels into rgb. Returns zero if that succeeded and the result of the file is unambiguous.
static int decode_rgb(const unsigned char *file, unsigned long size, unsigned char *rgb, unsigned w, unsigned h,
	int max_scans) {
  struct jpeg_decompress_struct d = {0};
  struct jpeg_progress_mgr progress = {.progress_monitor = bound_scans};
  failure f;
  d.err = jpeg_std_error(&f.functions);
  f.functions.error_exit = fail;
  f.functions.output_message = keep_quiet;
  if (setjmp(f.stop)) {
    jpeg_destroy_decompress(&d);
    return 1;
  }
  jpeg_create_decompress(&d);
  d.progress = &progress;
  d.client_data = &max_scans;
  jpeg_mem_src(&d, file, size);
  jpeg_read_header(&d, TRUE);
  if (d.image_width != w || d.image_height != h || (d.num_components != 1 && d.num_components != 3) ||
      (jpeg_has_multiple_scans(&d) && !d.progressive_mode)) {
    fail((j_common_ptr)&d);
  }
  d.out_color_space = JCS_RGB;
  jpeg_start_decompress(&d);
  if (lacks_scans(&d)) {
    fail((j_common_ptr)&d);
  }
  while (d.output_scanline < h) {
    JSAMPROW row = rgb + (size_t)3 * w * d.output_scanline;
    jpeg_read_scanlines(&d, &row, 1);
  }
  jpeg_finish_decompress(&d);
  if (f.functions.num_warnings > 0) {
    fail((j_common_ptr)&d);
  }
  jpeg_destroy_decompress(&d);
  return 0;
}
*/
import "C"

import "unsafe"

// jpegDecode lets libjpeg-turbo decode undamaged files. Files that it refuses, warns about or would complete by
// guessing (missing scans) go to our own decoder, so that both builds accept the same files and refuse the others with
// the same messages.
func jpegDecode(file []byte) (*RGB, error) {
	header, err := jpegHeader(file)
	if err != nil {
		return nil, err
	}
	rgb := newRGB(header.Width, header.Height)
	if C.decode_rgb((*C.uchar)(unsafe.Pointer(&file[0])), C.ulong(len(file)), (*C.uchar)(unsafe.Pointer(&rgb.Pix[0])),
		C.uint(rgb.W), C.uint(rgb.H), maxScans) != 0 {
		return decodeJPEG(file)
	}
	return rgb, nil
}
