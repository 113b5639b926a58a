// Package check looks at everything that a run of a recipe would read, by the code that the run uses, and says what would be
// skipped, cut or refused. What was found for a data set is kept in the per-user cache.
package check
