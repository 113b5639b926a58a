// Package exam asks a model questions while it trains: parts of benchmarks, and held-out rows. The engine and the rules
// are those of `benchmark run`; training is not changed by it.
package exam
