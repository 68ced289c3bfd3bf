package client

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A conformanceCase is a line of the file: records in, valid scores and standings out; or a card in, its arm out.
type conformanceCase struct {
	Standings  map[int32][3]int64  `json:"standings"`
	Records    [][]json.RawMessage `json:"records"`
	Valid      []int               `json:"valid"`
	Void       int                 `json:"void"`
	Unreadable int                 `json:"unreadable"`
	After      map[int32][3]int64  `json:"after"`

	Salt   string         `json:"salt"`
	CardID string         `json:"card_id"`
	Shares map[string]int `json:"shares"`
	Bucket int            `json:"bucket"`
	Arm    string         `json:"arm"`
}

// Templates are the first line of the file.
type templates struct {
	Score           string            `json:"score"`
	ScoreWithoutLog string            `json:"score_without_log"`
	Values          map[string][]byte `json:"values"`
}

func TestEveryCase(t *testing.T) {
	file, err := os.Open("../conformance/cases.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unpacked)
	lines.Buffer(nil, 1<<20)
	var header templates
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &header) != nil {
		t.Fatal("no first line")
	}
	scores, arms := 0, 0
	for lines.Scan() {
		var expected conformanceCase
		if err := json.Unmarshal(lines.Bytes(), &expected); err != nil {
			t.Fatal(err)
		}
		if expected.Records == nil {
			checkArm(t, expected)
			arms++
		} else {
			checkScores(t, header, expected, lines.Text())
			scores++
		}
	}
	if lines.Err() != nil || scores != 10_000 || arms != 1_000 {
		t.Fatal(lines.Err(), scores, arms)
	}
}

func checkScores(t *testing.T, header templates, expected conformanceCase, line string) {
	t.Helper()
	scores := ValidScores{Standings: map[int32]Standing{}}
	for partition, stored := range expected.Standings {
		scores.Standings[partition] = Standing{stored[0], stored[1], stored[2]}
	}
	valid := []int{}
	for index, record := range expected.Records {
		partition, err := strconv.ParseInt(string(record[0]), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := scores.Take(int32(partition), valueOf(t, header, record)); ok {
			valid = append(valid, index)
		}
	}
	after := map[int32][3]int64{}
	for partition, standing := range scores.Standings {
		after[partition] = [3]int64{standing.HighestEpoch, standing.LastLog, standing.LastOffset}
	}
	if !slices.Equal(valid, expected.Valid) || !maps.Equal(after, expected.After) ||
		scores.Void != expected.Void || scores.Unreadable != expected.Unreadable {
		t.Fatal(valid, after, scores.Void, scores.Unreadable, line)
	}
}

// valueOf returns the value of a record, as clients/conformance/README.md has it.
func valueOf(t *testing.T, header templates, record []json.RawMessage) []byte {
	t.Helper()
	if len(record) == 2 {
		var name *string
		if err := json.Unmarshal(record[1], &name); err != nil {
			t.Fatal(err)
		}
		if name == nil {
			return nil
		}
		return header.Values[*name]
	}
	template, log := header.ScoreWithoutLog, ""
	if len(record) == 4 {
		template, log = header.Score, string(record[3])
	}
	return []byte(strings.NewReplacer(
		"@partition", string(record[0]), "@epoch", string(record[1]), "@offset", string(record[2]), "@log", log,
	).Replace(template))
}

func checkArm(t *testing.T, expected conformanceCase) {
	t.Helper()
	bucket, err := Bucket(expected.Salt, expected.CardID)
	if err != nil || bucket != expected.Bucket {
		t.Fatal(bucket, err, expected)
	}
	arm, err := ArmOf(expected.CardID, expected.Shares, expected.Salt)
	if err != nil || arm != expected.Arm {
		t.Fatal(arm, err, expected)
	}
}

func TestTheZeroValueBeginsAtTheFirstRecord(t *testing.T) {
	var scores ValidScores
	score := `{"schema":"score/1","transaction_id":"t","decision":"approve","decided_by":"model","epoch":0,"source":{"offset":0}}`
	if _, ok := scores.Take(3, []byte(score)); !ok || scores.Standings[3] != (Standing{}) {
		t.Fatal(scores)
	}
}

func TestAttributesAreTheTextsOfDeclaredCategories(t *testing.T) {
	score := `{"schema":"score/1","transaction_id":"t","decision":"approve","decided_by":"model","epoch":0,"source":{"offset":0}`
	for attributes, expected := range map[string]string{`{"ip_country":"NG"}`: "NG", `{"ip_country":7}`: "", "[]": "", "null": ""} {
		read, ok := ReadScore([]byte(score + `,"attributes":` + attributes + "}"))
		if !ok || read.Attributes["ip_country"] != expected {
			t.Fatal(attributes, read)
		}
	}
	if read, ok := ReadScore([]byte(score + "}")); !ok || read.Attributes != nil {
		t.Fatal(read)
	}
}

func TestASaltOfMoreThan64BytesIsAnError(t *testing.T) {
	if _, err := ArmOf("card-1", nil, strings.Repeat("x", 65)); err == nil {
		t.Fatal("no error")
	}
}
