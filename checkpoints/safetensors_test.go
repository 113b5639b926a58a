package checkpoints

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// pack makes a safetensors file of a header and n bytes of data.
func pack(header string, n int) []byte {
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(file, header...), make([]byte, n)...)
}

func TestReadSafetensors(t *testing.T) {
	for name, file := range map[string][]byte{
		"one":           pack(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8),
		"none":          pack(`{}`, 0),
		"spaces behind": pack(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}     `, 8),
		"scalar":        pack(`{"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}`, 8),
		"empty tensor": pack(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32",`+
			`"shape":[0,7],"data_offsets":[0,0]},"c":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}`, 8),
		"out of order": pack(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[3,5]},"b":{"dtype":"U8",`+
			`"shape":[3],"data_offsets":[0,3]}}`, 5),
		"fields unordered": pack(`{"a":{"data_offsets":[0,1],"shape":[1],"dtype":"F8_E4M3"}}`, 1),
		// the reference passes over it
		"unknown field": pack(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":{"y":[1]}}}`, 1),
		"metadata":      pack(`{"__metadata__":{"a":"b"}}`, 0),
	} {
		if _, _, err := readSafetensors(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadSafetensorsErrors(t *testing.T) {
	one := `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`
	entry := func(shape, offsets string) string {
		return fmt.Sprintf(`{"a":{"dtype":"F32","shape":%s,"data_offsets":%s}}`, shape, offsets)
	}
	many := strings.Repeat(`"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},`, maxTensors+1)
	numbers := make([]any, maxTensors+1)
	for i := range numbers {
		numbers[i] = i
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"7 bytes": {make([]byte, 7), "too few"},
		"header too long": {append(binary.LittleEndian.AppendUint64(nil, 100_000_001), '{'),
			"more than the limit of 100000000"},
		"length of 2^64-1": {append(binary.LittleEndian.AppendUint64(nil, 1<<64-1), '{'), "more than the limit"},
		"header cut":       {pack(one, 0)[:20], "truncated"},
		"empty header":     {pack("", 8), "brace"},
		"space before":     {pack(" "+one, 8), "brace"},
		"array":            {pack("[]", 0), "brace"},
		"not UTF-8":        {pack("{\"\xff\":1}", 0), "UTF-8"},
		"two objects":      {pack("{}{}", 0), "unexpected data"},
		"JSON cut":         {pack(one[:len(one)-2], 8), "unexpected EOF"},
		"data cut":         {pack(one, 7), "truncated"},
		"data too long":    {pack(one, 9), "9 bytes of data"},
		"name twice":       {pack(one[:len(one)-1]+","+one[1:], 8), "twice"},
		"field twice": {pack(`{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8),
			"twice"},
		"metadata twice":    {pack(`{"__metadata__":{},"__metadata__":{}}`, 0), "twice"},
		"metadata number":   {pack(`{"__metadata__":{"a":1}}`, 0), "want a string"},
		"field in capitals": {pack(`{"a":{"Dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), "dtype"},
		"no dtype":          {pack(`{"a":{"shape":[2],"data_offsets":[0,8]}}`, 8), "dtype"},
		"no shape":          {pack(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), "shape"},
		"no offsets":        {pack(`{"a":{"dtype":"F32","shape":[0]}}`, 0), "data_offsets"},
		"unknown dtype": {pack(`{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}`, 8),
			`"F31" is not one of`},
		"null shape":        {pack(entry("null", "[0,4]"), 4), "want "},
		"null extent":       {pack(entry("[null]", "[0,0]"), 0), "integer"},
		"negative extent":   {pack(entry("[-2]", "[0,8]"), 8), "integer"},
		"fraction":          {pack(entry("[2.0]", "[0,8]"), 8), "integer"},
		"text extent":       {pack(entry(`["2"]`, "[0,8]"), 8), "integer"},
		"exponent":          {pack(entry("[2e0]", "[0,8]"), 8), "integer"},
		"extent over 2^63":  {pack(entry("[9223372036854775808]", "[0,8]"), 8), "integer"},
		"product over 2^63": {pack(entry("[4294967296,4294967296]", "[0,0]"), 0), "shape"},
		"bytes over 2^63":   {pack(entry("[4611686018427387904]", "[0,0]"), 0), "shape"},
		"one offset":        {pack(entry("[2]", "[8]"), 8), "two data_offsets"},
		"three offsets":     {pack(entry("[2]", "[0,8,8]"), 8), "two data_offsets"},
		"offsets backwards": {pack(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8",`+
			`"shape":[1],"data_offsets":[2,1]}}`, 2), "offsets"},
		"size and offsets": {pack(entry("[2]", "[0,4]"), 4), "needs 8 bytes"},
		"gap": {pack(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8",`+
			`"shape":[1],"data_offsets":[2,3]}}`, 3), "gap"},
		"hole at the start": {pack(entry("[2]", "[1,9]"), 9), "gap"},
		"overlap": {pack(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8",`+
			`"shape":[2],"data_offsets":[1,3]}}`, 3), "overlap"},
		"same bytes": {pack(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8",`+
			`"shape":[2],"data_offsets":[0,2]}}`, 2), "overlap"},
		"too many": {pack("{"+strings.TrimSuffix(fmt.Sprintf(many, numbers...), ",")+"}", 0),
			"more than 100000"},
		"nested deep":        {pack(`{"a":{"x":`+strings.Repeat("[", 100_000)+`}}`, 0), "depth"},
		"terminal in a name": {pack("{\"\\u001b[31m\":1}", 0), `"\x1b[31m"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := readSafetensors(c.file)
			wantError(t, err, c.want)
		})
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(pack(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"format":"pt"}}  `, 8))
	f.Add(pack(`{"b":{"dtype":"U8","shape":[3],"data_offsets":[2,5]},"a":{"dtype":"BF16","shape":[],`+
		`"data_offsets":[0,2]}}`, 5))
	f.Add(pack(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0))
	f.Add(pack(`{"a":{"x":[[[{}]]]}}`, 0))
	f.Fuzz(func(t *testing.T, file []byte) {
		views, _, err := readSafetensors(file)
		if err != nil {
			return
		}
		// What is accepted covers the data exactly, in order.
		rest := file[8+binary.LittleEndian.Uint64(file):]
		for _, v := range views {
			if int64(len(v.data)) != v.Bytes() || len(v.data) > 0 && &v.data[0] != &rest[0] {
				t.Fatalf("%v is not where it should be", v.Info)
			}
			rest = rest[len(v.data):]
		}
		if len(rest) > 0 {
			t.Fatalf("%d bytes belong to no tensor", len(rest))
		}
	})
}
