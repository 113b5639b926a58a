//go:build !turbojpeg

package picture

// jpegDecode decodes a JPEG in a build without the tag turbojpeg.
var jpegDecode = decodeJPEG
