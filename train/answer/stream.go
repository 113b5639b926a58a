package answer

import (
	"strings"

	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// stream turns tokens into text. It holds back what could be the beginning of the stop text.
type stream struct {
	decoder *tokenizer.Decoder
	stop    string // "" for none
	emit    func(text string)
	held    string
	ended   bool
}

func newStream(decoder *tokenizer.Decoder, stop string, emit func(text string)) *stream {
	return &stream{decoder: decoder, stop: stop, emit: emit}
}

// token takes one token and says whether to generate more.
func (s *stream) token(id int32) bool {
	s.take(s.decoder.Next(id))
	return !s.ended
}

func (s *stream) take(text string) {
	s.held += text
	if s.stop != "" {
		if at := strings.Index(s.held, s.stop); at >= 0 {
			s.emit(s.held[:at])
			s.held, s.ended = "", true
			return
		}
	}
	keep := s.possibleStop()
	if ready := s.held[:len(s.held)-keep]; ready != "" {
		s.emit(ready)
		s.held = s.held[len(ready):]
	}
}

// possibleStop is how many bytes at the end of the held text begin the stop text.
func (s *stream) possibleStop() int {
	for n := min(len(s.stop)-1, len(s.held)); n > 0; n-- {
		if strings.HasSuffix(s.held, s.stop[:n]) {
			return n
		}
	}
	return 0
}

// end emits what is still held back.
func (s *stream) end() {
	if !s.ended {
		s.emit(s.held + s.decoder.Flush())
	}
}
