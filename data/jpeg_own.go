//go:build !turbojpeg

package data

// jpegDecode is the way of a JPEG in a build without the tag turbojpeg.
var jpegDecode = decodeJPEG
