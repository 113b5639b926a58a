package files

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// TSV reads tab-separated values as spreadsheets write them: a cell in quotes may hold tabs, line breaks and doubled
// quotes. Cells are text, and stay as they are: "nan", "None" and "007" are words like others. visit gets the cells by
// the names in the first line; those that are wanted must be there.
func (f *Folder) TSV(name string, wanted []string, visit func(cells map[string]string) error) error {
	text, err := f.Text(name)
	if err != nil {
		return err
	}
	s := &cells{text: string(text), line: 1}
	head, err := s.row()
	if err != nil {
		return failure.Inputf("%s line 1: %w", f.at(name), err)
	}
	for _, column := range wanted {
		if !slices.Contains(head, column) {
			return failure.Inputf("%s: it has no column %s; its first line names %s", f.at(name), column,
				strings.Join(head, ", "))
		}
	}
	for s.at < len(s.text) {
		line := s.line
		row, err := s.row()
		if err == nil && len(row) == 1 && row[0] == "" {
			continue
		}
		if err == nil && len(row) != len(head) {
			err = fmt.Errorf("%d cells, and its first line names %d columns", len(row), len(head))
		}
		if err == nil {
			named := make(map[string]string, len(head))
			for i, column := range head {
				named[column] = row[i]
			}
			err = visit(named)
		}
		if err != nil {
			return failure.Inputf("%s line %d: %w", f.at(name), line, err)
		}
	}
	return nil
}

// cells reads a text cell by cell.
type cells struct {
	text     string
	at, line int
}

// row reads up to the end of a row, which a line break outside of quotes is.
func (s *cells) row() (row []string, err error) {
	for {
		cell, err := s.cell()
		if err != nil {
			return nil, err
		}
		row = append(row, cell)
		switch rest := s.text[s.at:]; {
		case strings.HasPrefix(rest, "\t"):
			s.at++
		case strings.HasPrefix(rest, "\r\n"):
			s.at += 2
			s.line++
			return row, nil
		case rest != "":
			s.at++
			s.line++
			return row, nil
		default:
			return row, nil
		}
	}
}

func (s *cells) cell() (string, error) {
	rest := s.text[s.at:]
	if !strings.HasPrefix(rest, `"`) {
		end := strings.IndexAny(rest, "\t\n")
		if end < 0 {
			end = len(rest)
		}
		if end > 0 && strings.HasPrefix(rest[end:], "\n") && rest[end-1] == '\r' {
			end--
		}
		s.at += end
		return rest[:end], nil
	}
	var cell strings.Builder
	for at := 1; ; {
		end := strings.IndexByte(rest[at:], '"')
		if end < 0 {
			return "", fmt.Errorf("the cell in quotes that begins with %.20q does not end: the file is cut off, or a "+
				"quote is missing", rest[1:])
		}
		cell.WriteString(rest[at : at+end])
		at += end + 1
		switch {
		case strings.HasPrefix(rest[at:], `"`):
			cell.WriteByte('"')
			at++
			continue
		case at < len(rest) && !strings.ContainsRune("\t\r\n", rune(rest[at])):
			return "", fmt.Errorf("text follows the closing quote of the cell %.20q", cell.String())
		}
		s.at += at
		s.line += strings.Count(cell.String(), "\n")
		return cell.String(), nil
	}
}
