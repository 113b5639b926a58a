//go:build !turbojpeg

package picture

// jpegDecode is the way of a JPEG in a build without the tag turbojpeg.
var jpegDecode = decodeJPEG
