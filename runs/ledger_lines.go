package runs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/rows"
)

// LedgerLine is one line of a ledger, the record of which rows each step drew. A line with data describes the data sets
// that the lines after it draw from; every other line holds the rows of a step.
type LedgerLine struct {
	Step int        `json:"step"` // from 1; of a line with data, the step before it
	Data LedgerData `json:"data,omitempty"`
	Rows []byte     `json:"rows,omitempty"` // see pack
}

// LedgerData describes the data sets that a run draws from, in the order of the recipe's list.
type LedgerData []LedgerSource

// LedgerSource identifies the content of a data set, without which its row numbers mean nothing.
type LedgerSource struct {
	Rows        int    `json:"rows"`
	Fingerprint string `json:"fingerprint"`
}

// LedgerEntry is what a ledger says about one step.
type LedgerEntry struct {
	Step int // from 1
	Rows []data.Drawn
	Data LedgerData
}

// LedgerDataOf describes opened data sets.
func LedgerDataOf(sources []rows.Source) (d LedgerData) {
	for _, s := range sources {
		d = append(d, LedgerSource{s.Len(), s.Fingerprint()})
	}
	return d
}

// Line is the ledger's line of a step that drew from d.
func (d LedgerData) Line(step data.Step) LedgerLine {
	return LedgerLine{Step: step.Number + 1, Rows: d.pack(step.Number+1, step.Rows)}
}

// pack writes the rows of a step, in their order, as
//
//	CRC-32C of all that follows, the step, and the rows of each data set (8 bytes each), as 4 bytes; all little-endian
//	the number of rows, uvarint
//	each row, less the one before it (0 for the first), varint
//	the place of each skipped row, less the one before it (0 for the first), uvarint
//
// where rows are numbered through all data sets, one after the other. That is 1 byte a row in the files' order, and 3
// in shuffled data sets of up to a million rows.
func (d LedgerData) pack(step int, rows []data.Drawn) []byte {
	firsts, _ := d.firsts()
	packed := binary.AppendUvarint(make([]byte, 4), uint64(len(rows)))
	before := 0
	for _, r := range rows {
		number := firsts[r.Data] + r.Row
		packed = binary.AppendVarint(packed, int64(number-before))
		before = number
	}
	before = 0
	for place, r := range rows {
		if r.Skipped {
			packed = binary.AppendUvarint(packed, uint64(place-before))
			before = place
		}
	}
	binary.LittleEndian.PutUint32(packed, d.sum(step, packed[4:]))
	return packed
}

// sum is the checksum of a step's line. It covers the sizes of the data sets too, since row numbers depend on them.
func (d LedgerData) sum(step int, packed []byte) uint32 {
	counts := binary.LittleEndian.AppendUint64(nil, uint64(step))
	for _, source := range d {
		counts = binary.LittleEndian.AppendUint64(counts, uint64(source.Rows))
	}
	return crc32.Update(crc32.Checksum(packed, rows.Castagnoli), rows.Castagnoli, counts)
}

// firsts returns the number of each data set's first row, and how many rows there are.
func (d LedgerData) firsts() (firsts []int, rows int) {
	for _, source := range d {
		firsts = append(firsts, rows)
		rows += source.Rows
	}
	return firsts, rows
}

// unpack reads what pack wrote.
func (d LedgerData) unpack(step int, packed []byte) ([]data.Drawn, error) {
	if len(packed) < 4 || binary.LittleEndian.Uint32(packed) != d.sum(step, packed[4:]) {
		return nil, errors.New("its checksum is wrong")
	}
	in := bytes.NewReader(packed[4:])
	n, err := binary.ReadUvarint(in)
	if err != nil || n > uint64(in.Len()) {
		return nil, errors.New("it has fewer rows than it says")
	}
	rows := make([]data.Drawn, n)
	firsts, total := d.firsts()
	number := 0
	for i := range rows {
		delta, err := binary.ReadVarint(in)
		if number += int(delta); err != nil || number < 0 || number >= total {
			return nil, fmt.Errorf("row %d of the step is not in its data sets", i)
		}
		source, found := slices.BinarySearch(firsts, number)
		if !found {
			source--
		}
		rows[i] = data.Drawn{Data: source, Row: number - firsts[source]}
	}
	place := uint64(0)
	for in.Len() > 0 {
		delta, err := binary.ReadUvarint(in)
		if place += delta; err != nil || place >= n {
			return nil, errors.New("it skips a row that it does not have")
		}
		rows[place].Skipped = true
	}
	return rows, nil
}

// ReadLedger calls visit with each step of a ledger, in order; steps may be missing. An incomplete last line is
// ignored: a run is writing it, or was killed while it did. Any other line that is damaged is an error.
func ReadLedger(r io.Reader, visit func(LedgerEntry) error) error {
	var now LedgerEntry
	return ledgerLines(r, func(number int, text []byte) error {
		before := now.Step
		if err := now.next(text); err != nil {
			return fmt.Errorf("line %d is damaged: %w", number, err)
		}
		if now.Step == before { // a line with data
			return nil
		}
		return visit(now)
	})
}

// next reads the next line into s.
func (s *LedgerEntry) next(text []byte) error {
	var line LedgerLine
	err := json.Unmarshal(text, &line)
	switch {
	case err != nil:
		return err
	case line.Data != nil:
		s.Data = line.Data
		return s.Data.check()
	case line.Step <= s.Step:
		return fmt.Errorf("step %d comes after step %d", line.Step, s.Step)
	}
	s.Step = line.Step
	s.Rows, err = s.Data.unpack(line.Step, line.Rows)
	return err
}

func (d LedgerData) check() error {
	const most = 1 << 48
	rows := 0
	for i, source := range d {
		if source.Rows < 1 || source.Rows > most || rows > most {
			return fmt.Errorf("data[%d] has %d rows", i, source.Rows)
		}
		rows += source.Rows
	}
	return nil
}

// NewestLedgerData returns the data sets that the last lines of a ledger draw from, nil if it is empty. Damaged lines
// are ignored: ReadLedger reports them.
func NewestLedgerData(r io.Reader) (newest LedgerData, err error) {
	err = ledgerLines(r, func(_ int, text []byte) error {
		var line LedgerLine
		if json.Unmarshal(text, &line) == nil && line.Data != nil {
			newest = line.Data
		}
		return nil
	})
	return newest, err
}

// ledgerLines calls visit with each complete line and its number, from 1.
func ledgerLines(r io.Reader, visit func(number int, text []byte) error) error {
	lines := bufio.NewReader(r)
	for number := 1; ; number++ {
		text, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = visit(number, text)
		}
		if err != nil {
			return err
		}
	}
}
