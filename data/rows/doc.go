// Package rows reads data sets: JSON arrays, JSON Lines, parquet, Arrow and llavatrain's shards, all as a [Source] of
// [Record]s with random access. A file's format is detected from its first bytes, never from its name. A fault in one
// row is an error of that row ([picture.ErrRow]); an incomplete file is refused when it is opened.
//
// Shards are written here too ([WriteShards]): rows and images in a few large files, with a checksum for each row.
package rows
