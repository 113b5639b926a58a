package files

import (
	"archive/zip"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// WriteSheet writes a workbook of Excel with one sheet (ECMA-376, SpreadsheetML). A cell is an int, a string, or nil
// for an empty one. The same rows give the same bytes.
func WriteSheet(w io.Writer, rows [][]any) error {
	archive := zip.NewWriter(w)
	for _, part := range []struct{ name, text string }{
		{"[Content_Types].xml", `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">` +
			`<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
			`<Override PartName="/xl/workbook.xml" ContentType="` + spreadsheet + `sheet.main+xml"/>` +
			`<Override PartName="/xl/worksheets/sheet1.xml" ContentType="` + spreadsheet + `worksheet+xml"/></Types>`},
		{"_rels/.rels", `<Relationships xmlns="` + relations + `"><Relationship Id="rId1" Type="` + relation +
			`officeDocument" Target="xl/workbook.xml"/></Relationships>`},
		{"xl/workbook.xml", `<workbook xmlns="` + mainSchema + `" xmlns:r="` + strings.TrimSuffix(relation, "/") +
			`"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>`},
		{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="` + relations + `"><Relationship Id="rId1" ` +
			`Type="` + relation + `worksheet" Target="worksheets/sheet1.xml"/></Relationships>`},
		{"xl/worksheets/sheet1.xml", sheetOf(rows)},
	} {
		file, err := archive.Create(part.name)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(file, xml.Header+part.text); err != nil {
			return err
		}
	}
	return archive.Close()
}

const (
	spreadsheet = "application/vnd.openxmlformats-officedocument.spreadsheetml."
	relations   = "http://schemas.openxmlformats.org/package/2006/relationships"
	relation    = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
	mainSchema  = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
)

func sheetOf(rows [][]any) string {
	var b strings.Builder
	b.WriteString(`<worksheet xmlns="` + mainSchema + `"><sheetData>`)
	for i, row := range rows {
		fmt.Fprintf(&b, `<row r="%d">`, i+1)
		for j, cell := range row {
			at := fmt.Sprintf("%c%d", 'A'+j, i+1)
			switch cell := cell.(type) {
			case int:
				fmt.Fprintf(&b, `<c r="%s"><v>%d</v></c>`, at, cell)
			case string:
				fmt.Fprintf(&b, `<c r="%s" t="inlineStr"><is><t xml:space="preserve">%s</t></is></c>`, at,
					cellText(cell))
			}
		}
		b.WriteString(`</row>`)
	}
	b.WriteString(`</sheetData></worksheet>`)
	return b.String()
}

// longestCell is how many characters a cell may hold.
const longestCell = 32767

// cellText is text for a cell: characters that XML cannot hold are left out, and what is too long is cut.
func cellText(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == longestCell {
			break
		}
		legal := r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r != 0xfffe && r != 0xffff
		if !legal || r == utf8.RuneError {
			continue
		}
		n++
		b.WriteRune(r)
	}
	var escaped strings.Builder
	xml.EscapeText(&escaped, []byte(b.String()))
	return escaped.String()
}
