// Package rows reads data sets: JSON arrays, JSON Lines, parquet, Arrow and our own shards, all as a [Source] of [Record]s with random
// access. A file is recognised by how it begins, never by its name. What is wrong with one row is an error of that row
// ([picture.ErrRow]); a file that is not whole is refused when it is opened.
//
// Shards are written here too ([WriteShards]): rows and images in a few large files, with a checksum for each row.
package rows
