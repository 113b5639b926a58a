package recipes

import (
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// BadSamples says what happens to rows that cannot be used. A recipe may give the policy alone: bad_samples: skip.
type BadSamples struct {
	Policy string `yaml:"policy"`          // skip | fail
	Limit  Limit  `yaml:"limit,omitempty"` // distinct rows that a run may skip; "": the default
}

// MarshalYAML writes the policy alone if there is no limit.
func (b BadSamples) MarshalYAML() (any, error) {
	if b.Limit == "" {
		return b.Policy, nil
	}
	type section BadSamples
	return section(b), nil
}

// Limit is a number of rows, or a share of them such as 0.5%.
type Limit string

var limitForm = regexp.MustCompile(`^[0-9]{1,15}$|^[0-9]{1,3}(\.[0-9]+)?%$`)

// Of is the limit as a number of the given rows; a share is rounded down. The limit must not be "".
func (l Limit) Of(rows int) int {
	share, isShare := strings.CutSuffix(string(l), "%")
	value, _ := strconv.ParseFloat(share, 64) // of limitForm
	if isShare {
		value = math.Floor(value * float64(rows) / 100)
	}
	return int(value)
}

// shorthands are the sections that may be given as one value: that of this field.
var shorthands = map[reflect.Type]string{reflect.TypeFor[BadSamples](): "Policy"}

func (d *decoder) checkBadSamples(at string, b BadSamples) {
	policy := at
	if d.given(at + ".policy") {
		policy += ".policy"
	}
	d.oneOf(policy, b.Policy, "skip", "fail")
	limit := at + ".limit"
	share := strings.HasSuffix(string(b.Limit), "%")
	d.rule(limit, limitForm.MatchString(string(b.Limit)) && (!share || b.Limit.Of(100) <= 100),
		"must be a number of rows or a share of them such as 0.5%%, not %s", quoted(string(b.Limit)))
	d.rule(limit, b.Policy != "fail", "cannot be combined with the policy fail, which allows none")
}
