package reply

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// longestWait is the longest wait that is believed. No limit of requests lasts longer than a day.
const longestWait = 24 * time.Hour

// wait is the pause that an answer asks for, or NoWait: retry-after-ms (Azure's and OpenAI's), else Retry-After of RFC
// 9110 in seconds, with fractions allowed, or as a date. A date counts from that of the answer, as the endpoint's clock
// and ours may differ.
func wait(headers map[string][]string) time.Duration {
	after := header(headers, "retry-after")
	for _, asked := range []time.Duration{
		units(header(headers, "retry-after-ms"), time.Millisecond),
		units(after, time.Second),
		untilDate(after, header(headers, "date")),
	} {
		if asked != NoWait {
			return asked
		}
	}
	return NoWait
}

// units reads a plain decimal number: no sign, no exponent, no "inf".
func units(text string, unit time.Duration) time.Duration {
	if strings.Trim(text, "0123456789.") != "" {
		return NoWait
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || number > float64(longestWait/unit) {
		return NoWait
	}
	return time.Duration(number * float64(unit))
}

// dateLayouts are the three forms of a date in RFC 9110, 5.6.7.
var dateLayouts = []string{"Mon, 02 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC}

func untilDate(then, now string) time.Duration {
	until, ok := date(then)
	from, known := date(now)
	if d := until.Sub(from); ok && known && d >= 0 && d <= longestWait {
		return d
	}
	return NoWait
}

func date(text string) (time.Time, bool) {
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// header is the first value of a header, whose name may stand in any case. Of two spellings of it the first in the
// order of bytes counts, so that the result does not depend on the map.
func header(headers map[string][]string, name string) string {
	for _, key := range slices.Sorted(maps.Keys(headers)) {
		if values := headers[key]; len(values) > 0 && strings.EqualFold(key, name) {
			return strings.TrimSpace(values[0])
		}
	}
	return ""
}
