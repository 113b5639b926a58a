package failure

import (
	"fmt"
	"strings"
)

// Several is errors that do not depend on each other: what is wrong with one file and with another. Its message has a
// line for each.
type Several []error

func (s Several) Error() string {
	lines := make([]string, len(s))
	for i, err := range s {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

func (s Several) Unwrap() []error { return s }

// Join is the errors that are not nil, those of Several each by itself: nil for none, the error itself for one.
func Join(errs ...error) error {
	var all Several
	for _, err := range errs {
		all = append(all, Each(err)...)
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}

// Each is the errors that err stands for: those of Several, or err itself.
func Each(err error) []error {
	if several, ok := err.(Several); ok {
		return several
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// Under puts a key before the message of each error that err stands for.
func Under(key string, err error) error {
	var all []error
	for _, one := range Each(err) {
		all = append(all, fmt.Errorf("%s%w", key, one))
	}
	return Join(all...)
}
