// Package looking has the commands that look at the machine: doctor, bench, version.
package looking
