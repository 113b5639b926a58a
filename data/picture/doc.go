// Package picture turns image files into the pixels that a tower takes.
//
//  1. An [Images] store finds a file by the path in a row: in a folder, a zip or tar files, and nowhere else.
//  2. [Decode] makes 8-bit RGB of it, with exactly Pillow's values; limits are checked before memory is allocated. JPEG
//     is decoded here; the formats bmp, gif and tiff are packages below.
//  3. A [Processor] resizes, pads or crops as the tower's own processor does, and keeps bytes: the model normalises
//     with a table.
//  4. In models of any resolution, a [Tiling] says from an image's size alone how it becomes tiles, which the Processor
//     then cuts, and which features of these the image's positions take.
package picture
