package bench

import (
	"bufio"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// WorkArg is the first argument of the executable when it is to be what weir is held against, as a process of its own: [Work] then
// gets the others.
const WorkArg = "bench-work"

const batch = 500

// Work does, without weir, one of
//
//	loop PATH RECORDS      what a pipeline of generate, md5 and file does
//	socket PATH RECORDS    frames of 500 records to another process, through a socket at PATH
//	receive PATH RECORDS   that other process
func Work(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want loop, socket or receive, a path, and a number of records")
	}
	records, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	switch args[0] {
	case "loop":
		return loop(args[1], records)
	case "socket":
		return send(args[1], records)
	case "receive":
		return receive(args[1], records)
	}
	return fmt.Errorf("no work %q", args[0])
}

// plainLoop measures the loop, and sees that it has done its work.
func (b *bench) plainLoop(ctx context.Context, records int) (figures, error) {
	return b.inFolder(func(dir string) (figures, error) {
		out := filepath.Join(dir, "out.jsonl")
		f, err := measure(ctx, b.command(ctx, dir, WorkArg, "loop", out, strconv.Itoa(records)), out)
		if err != nil {
			return f, err
		}
		f.twice, err = arrived(out, 1, records)
		return f, err
	})
}

// loop makes bodies, takes their md5, and writes them as lines; it syncs with every 500.
func loop(path string, records int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	filler := make([]byte, recordSize)
	for i := range filler {
		filler[i] = 'a' + byte(i%26)
	}
	var line []byte
	var sums [batch]string
	for i := range records {
		line = append(line[:0], `{"n":`...)
		line = strconv.AppendInt(line, int64(i+1), 10)
		line = append(line, `,"seed":1,"text":"`...)
		line = append(line, filler[len(line)+len(`"}`):]...)
		line = append(line, "\"}\n"...)
		sum := md5.Sum(line[:len(line)-1])
		sums[i%batch] = hex.EncodeToString(sum[:])
		if _, err := w.Write(line); err != nil {
			return err
		}
		if i%batch == batch-1 || i == records-1 {
			if err := w.Flush(); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return f.Close()
}

// socket measures what it costs to get records from one process to another, and no more.
func (b *bench) socket(ctx context.Context, records int) (figures, error) {
	return b.inFolder(func(dir string) (figures, error) {
		return measure(ctx, b.command(ctx, dir, WorkArg, "socket", "s", strconv.Itoa(records)), filepath.Join(dir, "s")) // the path of a socket is short
	})
}

// send starts the other process and sends it frames: their length, four bytes, and their records, which begin with their number.
func send(path string, records int) error {
	lis, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	defer lis.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	other := exec.Command(self, WorkArg, "receive", path, strconv.Itoa(records))
	other.Stderr = os.Stderr
	if err := other.Start(); err != nil {
		return err
	}
	over := make(chan error, 1) // nobody takes it when sending fails first
	go func() {
		err := other.Wait()
		lis.Close() // else Accept would wait for a process that has died
		over <- err
	}()
	err = sendTo(lis, records)
	if err != nil {
		other.Process.Kill() // an error says that it has ended
	}
	if ended := <-over; ended != nil {
		return fmt.Errorf("the receiver: %w", ended)
	}
	return err
}

func sendTo(lis net.Listener, records int) error {
	conn, err := lis.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	frame := make([]byte, 4+batch*recordSize)
	for n := 0; n < records; {
		size := min(batch, records-n) * recordSize
		binary.BigEndian.PutUint32(frame, uint32(size))
		for at := 4; at < 4+size; at += recordSize {
			n++
			binary.BigEndian.PutUint64(frame[at:], uint64(n))
		}
		if _, err := conn.Write(frame[:4+size]); err != nil {
			return err
		}
	}
	return nil
}

// receive reads frames to their end. It is an error if a record is not the next one, and if it was not the last.
func receive(path string, records int) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	n := 0
	var length [4]byte
	for frame := make([]byte, batch*recordSize); ; {
		if _, err := io.ReadFull(conn, length[:]); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(length[:]))
		if size > len(frame) || size%recordSize != 0 {
			return fmt.Errorf("a frame of %d bytes", size)
		}
		if _, err := io.ReadFull(conn, frame[:size]); err != nil {
			return err
		}
		for at := 0; at < size; at += recordSize {
			n++
			if got := binary.BigEndian.Uint64(frame[at:]); got != uint64(n) {
				return fmt.Errorf("record %d came where %d was expected", got, n)
			}
		}
	}
	if n != records {
		return fmt.Errorf("%d records came, want %d", n, records)
	}
	return nil
}
