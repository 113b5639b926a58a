// Package program has what the commands share: the terminal, signals, exit codes, and reading a recipe from the command
// line.
package program
