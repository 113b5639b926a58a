package answer

import (
	"strings"

	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// stream turns tokens into text. It holds back what could be the beginning of a stop text.
type stream struct {
	decoder *tokenizer.Decoder
	stops   []string // that end the answer, and are not part of it
	emit    func(text string)
	held    string
	ended   bool
}

func newStream(decoder *tokenizer.Decoder, stops []string, emit func(text string)) *stream {
	return &stream{decoder: decoder, stops: stops, emit: emit}
}

// token takes one token and says whether to generate more.
func (s *stream) token(id int32) bool {
	s.take(s.decoder.Next(id))
	return !s.ended
}

func (s *stream) take(text string) {
	s.held += text
	if at := s.stopIn(s.held); at >= 0 {
		s.emit(s.held[:at])
		s.held, s.ended = "", true
		return
	}
	keep := s.possibleStop()
	if ready := s.held[:len(s.held)-keep]; ready != "" {
		s.emit(ready)
		s.held = s.held[len(ready):]
	}
}

// stopIn is where the first stop text begins, -1 if there is none.
func (s *stream) stopIn(text string) int {
	first := -1
	for _, stop := range s.stops {
		if at := strings.Index(text, stop); at >= 0 && (first < 0 || at < first) {
			first = at
		}
	}
	return first
}

// possibleStop is how many bytes at the end of the held text begin a stop text.
func (s *stream) possibleStop() (most int) {
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.held)); n > most; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				most = n
			}
		}
	}
	return most
}

// end emits what is still held back.
func (s *stream) end() {
	if s.ended {
		return
	}
	s.ended = true
	rest := s.held + s.decoder.Flush()
	if at := s.stopIn(rest); at >= 0 {
		rest = rest[:at]
	}
	s.emit(rest)
}
