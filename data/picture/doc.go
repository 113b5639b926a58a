// Package picture turns image files into the pixels that a tower takes.
//
//  1. A [Images] store finds a file by the name that a row gives: in a folder, a zip or tars, and nowhere else.
//  2. [Decode] makes 8-bit RGB of it, equal to Pillow's to the level, JPEG included; limits are checked before memory is taken.
//  3. A [Processor] resizes, pads or crops as the tower's own processor does, and keeps bytes: normalisation is a table of the
//     model's.
package picture
