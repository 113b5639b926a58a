// Package pictures turns what clients send as pictures into pixels, within limits of size, number, memory and time: a
// file of a few kilobytes can hold a picture that takes gigabytes (a decompression bomb).
package pictures
