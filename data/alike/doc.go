// Package alike finds pictures and texts that a data set holds twice, or shares with a benchmark. It decides nothing:
// callers count, report or leave out what it finds.
//
//  1. [HashOf] gives a picture's difference hash. Copies that were scaled, squeezed or compressed again are at most
//     [Near] bits apart; cropped ones mostly are not.
//  2. An [Index] takes hashes one after another and says which earlier one is near, without comparing all pairs.
//     [Hashes] keeps the hashes of a folder's pictures in the user's cache.
//  3. [Text] is the normal form of a caption, [Question] that of a question; [Key] is what to compare.
//  4. A [Benchmark] is a file of questions, a list of pictures or a data set, with what is known of its pictures and
//     questions. It says which of them a picture or a text is.
package alike
