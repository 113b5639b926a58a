package pictures

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/serve"
)

// Limits of decoding.
const (
	MaxPictures = 8                 // of a request
	maxPixels   = picture.MaxPixels // of a picture
	maxTogether = 200_000_000       // pixels of all requests' pictures in memory, three bytes each
	atOnce      = 2                 // files that are being decoded
	decodeTime  = 20 * time.Second  // for a file, with waiting for its turn
	waitTime    = 30 * time.Second  // for memory
)

// Decoder decodes the pictures of all requests of a server.
type Decoder struct {
	turns  chan struct{}
	memory memory
	decode func([]byte) (*picture.RGB, error)
}

// NewDecoder makes a decoder. A process has one.
func NewDecoder() *Decoder {
	return &Decoder{turns: make(chan struct{}, atOnce), memory: memory{free: maxTogether, freed: make(chan struct{})},
		decode: picture.Decode}
}

// Set is the decoded pictures of one request.
type Set struct {
	RGB     []*picture.RGB
	release func()
}

// Release says that the pictures are not used any more. It may be called again.
func (s *Set) Release() { s.release() }

// Decode decodes the files of a request, by their bytes, not by what they were called. The error is a *serve.Refusal,
// or the context's. The caller must release the set.
func (d *Decoder) Decode(ctx context.Context, files [][]byte) (*Set, error) {
	if len(files) > MaxPictures {
		return nil, refuse("A request may have %d pictures; this one has %d.", MaxPictures, len(files))
	}
	pixels := 0
	for i, file := range files {
		header, err := picture.ReadHeader(file)
		if err != nil {
			return nil, unreadable(i, err)
		}
		if header.Width > maxPixels/header.Height {
			return nil, refuse("Picture %d has %d×%d pixels; the limit is %d million. Send a smaller one.", i+1,
				header.Width, header.Height, maxPixels/1_000_000)
		}
		pixels += header.Width * header.Height
	}
	if pixels > maxTogether {
		return nil, refuse("The pictures of the request have %d million pixels together; the limit is %d million. "+
			"Send smaller ones.", pixels/1_000_000, maxTogether/1_000_000)
	}
	if err := d.memory.take(ctx, pixels); err != nil {
		return nil, err
	}
	set := &Set{release: sync.OnceFunc(func() { d.memory.give(pixels) })}
	for i, file := range files {
		rgb, err := d.one(ctx, i, file)
		if err != nil {
			set.Release()
			return nil, err
		}
		set.RGB = append(set.RGB, rgb)
	}
	return set, nil
}

// one decodes a file when it is its turn. A file that takes too long keeps its turn until it ends, so that no more than
// a few can burn at once.
func (d *Decoder) one(ctx context.Context, i int, file []byte) (*picture.RGB, error) {
	late := time.NewTimer(decodeTime)
	defer late.Stop()
	select {
	case d.turns <- struct{}{}:
	case <-late.C:
		return nil, busy()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	type result struct {
		rgb *picture.RGB
		err error
	}
	done := make(chan result, 1)
	go func() {
		rgb, err := picture.Shield(d.decode, file)
		<-d.turns
		done <- result{rgb, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, unreadable(i, r.err)
		}
		return r.rgb, nil
	case <-late.C:
		return nil, refuse("Picture %d takes too long to decode. Send it in another form, as JPEG or PNG.", i+1)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// unreadable is for picture i, from 0, whose file the decoder refuses with words on the file alone.
func unreadable(i int, err error) error {
	text := "its file is damaged, or no picture"
	if errors.Is(err, picture.ErrRow) && !strings.Contains(err.Error(), "its decoder failed") {
		text = err.Error()
	}
	return refuse("Picture %d cannot be used: %s.", i+1, text)
}

func busy() error {
	return &serve.Refusal{Reason: serve.Busy, After: 2 * time.Second,
		Text: "The server is decoding as many pictures as it can. Send the request again."}
}

// memory is a number of pixels that requests take and give back.
type memory struct {
	mu    sync.Mutex
	free  int
	freed chan struct{} // is closed and replaced when some are given back
}

// take waits for n pixels. Requests take all of theirs at once, so that none waits for another that waits.
func (m *memory) take(ctx context.Context, n int) error {
	late := time.NewTimer(waitTime)
	defer late.Stop()
	for {
		m.mu.Lock()
		if m.free >= n {
			m.free -= n
			m.mu.Unlock()
			return nil
		}
		freed := m.freed
		m.mu.Unlock()
		select {
		case <-freed:
		case <-late.C:
			return busy()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *memory) give(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
	close(m.freed)
	m.freed = make(chan struct{})
}
