package llava

import (
	"strings"
	"unicode"
)

// cutter makes pieces of an answer of which all is sent each time, and ends it before the first stop text. What may
// become a stop text is kept back, so that nothing is ever taken back.
type cutter struct {
	stops []string
	seen  string // all so far, without space at its start
	sent  int    // bytes of seen
}

// take takes the text so far, and returns what follows what was sent. stopped says that a stop text came. The
// original's worker takes its stop text back, and goes on: a text that became shorter is the sign of it.
func (c *cutter) take(text string) (piece string, stopped bool) {
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	if len(text) < len(c.seen) && strings.HasPrefix(c.seen, text) || !strings.HasPrefix(text, c.seen[:c.sent]) {
		c.seen = c.seen[:max(c.sent, min(len(text), len(c.seen)))]
		return c.rest(), true
	}
	c.seen = text
	end, whole := len(text), len(text)+1
	for _, stop := range c.stops {
		// The first to be whole counts, or the end would depend on how the text comes.
		if at := strings.Index(text, stop); at >= 0 && stop != "" &&
			(at+len(stop) < whole || at+len(stop) == whole && at < end) {
			end, whole, stopped = at, at+len(stop), true
		}
	}
	if !stopped {
		end -= c.held()
	}
	end = max(end, c.sent)
	piece, c.sent = text[c.sent:end], end
	return piece, stopped
}

// held is the length of the longest end of seen that begins a stop text.
func (c *cutter) held() (longest int) {
	for _, stop := range c.stops {
		for n := min(len(stop)-1, len(c.seen)-c.sent); n > longest; n-- {
			if strings.HasSuffix(c.seen, stop[:n]) {
				longest = n
			}
		}
	}
	return longest
}

// rest is what was kept back, once no more comes.
func (c *cutter) rest() string {
	piece := c.seen[c.sent:]
	c.sent = len(c.seen)
	return piece
}
