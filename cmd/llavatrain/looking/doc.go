// Package looking has the commands that inspect the machine: doctor, bench, version.
package looking
