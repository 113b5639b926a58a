// Package check reads everything that a run of a recipe would read, by the run's own code, and reports what would be
// skipped, cut or refused. The result for each data set is kept in the per-user cache.
package check
