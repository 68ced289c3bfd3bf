package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"fraudstream/client"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A decision is a line of the file: a valid score with its place.
type decision struct {
	Partition     int32  `json:"partition"` // of the scores topic, as is the offset
	Offset        int64  `json:"offset"`
	Epoch         int64  `json:"epoch"`
	Log           int64  `json:"log"`
	SourceOffset  int64  `json:"source_offset"`
	TransactionID string `json:"transaction_id"`
	Decision      string `json:"decision"`
	DecidedBy     string `json:"decided_by"`

	Attributes map[string]string `json:"attributes"` // declared categories, such as ip_country
}

// decisionOf returns the line of a record with a valid score.
func decisionOf(record *kgo.Record, score client.Score) decision {
	attributes := score.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	return decision{
		Partition: record.Partition, Offset: record.Offset,
		Epoch: score.Epoch, Log: score.Log, SourceOffset: score.SourceOffset,
		TransactionID: score.TransactionID, Decision: score.Decision, DecidedBy: score.DecidedBy,
		Attributes: attributes,
	}
}

// standingsAfter returns the standings behind the last decisions: after a valid score, they are its own epoch and source.
func standingsAfter(last map[int32]decision) map[int32]client.Standing {
	standings := map[int32]client.Standing{}
	for partition, decided := range last {
		standings[partition] = client.Standing{
			HighestEpoch: decided.Epoch, LastLog: decided.Log, LastOffset: decided.SourceOffset,
		}
	}
	return standings
}

// decisionsFile is the consumer's result, and at the same time its state: the last line of a partition says all that is
// needed to go on behind it. Result and state cannot disagree, since they are one; a crash neither loses nor doubles a
// decision. With a database, write such a row in the transaction that uses the decision.
//
// It is locked while it is open: a second process would write the same decisions between the first one's. It belongs to
// one topic, since its lines do not name it.
type decisionsFile struct {
	*os.File
	last map[int32]decision // by partition, when the file was opened
}

func openDecisions(path string) (*decisionsFile, error) {
	opened, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK} // of the whole file, until the process ends, in whatever way
	err = syscall.FcntlFlock(opened.Fd(), syscall.F_SETLK, &lock)
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		err = errors.New("another process writes this file; end that one, or name another file")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	file := &decisionsFile{opened, map[int32]decision{}}
	var end int64
	for lines := bufio.NewReader(opened); ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF { // what stands behind the last line end was cut off by a crash: its score is read again
			break
		}
		var read decision
		if err == nil {
			err = json.Unmarshal(line, &read)
		}
		if err != nil {
			return nil, fmt.Errorf("%s, byte %d: %w", path, end, err)
		}
		file.last[read.Partition] = read
		end += int64(len(line))
	}
	if err := opened.Truncate(end); err != nil {
		return nil, err
	}
	_, err = opened.Seek(end, io.SeekStart)
	return file, err
}

// add stores decisions, then prints them.
func (f *decisionsFile) add(decisions []decision) error {
	if len(decisions) == 0 {
		return nil
	}
	var lines []byte
	for _, one := range decisions {
		line, err := json.Marshal(one)
		if err != nil {
			return err
		}
		lines = append(append(lines, line...), '\n')
	}
	if _, err := f.Write(lines); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	for _, one := range decisions {
		fmt.Println(one.TransactionID, one.Decision, "by", one.DecidedBy)
	}
	return nil
}
