// Package ranks makes one job of the processes that a launcher started: they find each other, agree, watch over each
// other and end together.
//
//  1. Find reads from the environment which rank this process has, of how many, and where their store is. Launch is a
//     launcher of our own.
//  2. Join brings the processes of one start together, whatever an earlier start left in the store, and says who is
//     missing or differs.
//  3. From then on each rank's watch says twice a second that it lives, and looks whether the next one does. A rank
//     that is gone, or fails, is named to all, and all end: Options.Fault is called within seconds.
//  4. Gloo and NCCL connect the processes, or their GPUs, for what they compute together. NCCL reports its faults to
//     nobody; the watch asks it.
//  5. Agree exchanges a notice once a step: what a rank must tell the others before they go on.
//  6. Leave ends the job once all have reached it; Fail ends it because of this rank.
//
// Connections are c10d's, between the processes of the job alone.
package ranks
