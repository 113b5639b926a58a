package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Limits of lists. Each of a request's bytes could be an element of many times its size.
const (
	maxMessages = 10_000
	maxParts    = 1_000
)

// readList reads a list of at most so many elements of kind what. The error is a *fault that names the element.
func readList[T any](value json.RawMessage, most int, field, what string) ([]T, error) {
	elements := json.NewDecoder(bytes.NewReader(value))
	if first, err := elements.Token(); err != nil || first != json.Delim('[') {
		return nil, invalid(field, fmt.Sprintf("%s must be a list of %ss.", field, what))
	}
	var list []T
	for elements.More() {
		if len(list) == most {
			return nil, invalid(field, fmt.Sprintf("%s may have %d %ss.", field, most, what))
		}
		var one T
		if err := elements.Decode(&one); err != nil {
			at := fmt.Sprintf("%s[%d]", field, len(list))
			return nil, invalid(at, at+" is not a "+what+".")
		}
		list = append(list, one)
	}
	return list, nil
}
