//! Apache Parquet, written column by column without Arrow: one row group, every column optional, uncompressed (reports are small, and
//! every reader reads it).

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::sheet::{Cell, Kind, Sheet};

fn field(name: &str, kind: Kind) -> Result<TypePtr> {
    let (physical, logical) = match kind {
        Kind::Text | Kind::Decimal => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Whole => (Physical::INT64, None),
        Kind::Number => (Physical::DOUBLE, None),
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
    };
    Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build().map(Arc::new)
}

/// Writes the cells of a column that hold something.
fn column<T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    sheet: &Sheet,
    at: usize,
    value: impl Fn(&Cell) -> Option<T::T>,
) -> Result<()> {
    let cells: Vec<Option<T::T>> = sheet.rows.iter().map(|row| value(&row[at])).collect();
    let there: Vec<i16> = cells.iter().map(|c| i16::from(c.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    writer.typed::<T>().write_batch(&values, Some(&there), None).map(|_| ())
}

pub(super) fn write(sheet: &Sheet) -> Result<Vec<u8>> {
    let fields = sheet.columns.iter().map(|(name, kind)| field(name, *kind)).collect::<Result<Vec<_>>>()?;
    let schema = Arc::new(Type::group_type_builder("report").with_fields(fields).build()?);
    let properties = WriterProperties::builder().set_created_by(concat!("marquee ", env!("CARGO_PKG_VERSION")).into()).build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (at, (_, kind)) in sheet.columns.iter().enumerate() {
        let Some(mut writer) = group.next_column()? else { break };
        match kind {
            Kind::Text | Kind::Decimal => column::<ByteArrayType>(&mut writer, sheet, at, |cell| match cell {
                Cell::Text(text) | Cell::Decimal(text) => Some(ByteArray::from(text.as_str())),
                _ => None,
            })?,
            Kind::Whole => column::<Int64Type>(&mut writer, sheet, at, |cell| match cell {
                Cell::Whole(n) => Some(*n),
                _ => None,
            })?,
            Kind::Time => column::<Int64Type>(&mut writer, sheet, at, |cell| match cell {
                Cell::Time(at) => Some(at.0),
                _ => None,
            })?,
            Kind::Number => column::<DoubleType>(&mut writer, sheet, at, |cell| match cell {
                Cell::Number(n) if n.is_finite() => Some(*n),
                _ => None,
            })?,
        }
        writer.close()?;
    }
    group.close()?;
    file.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::clock::Timestamp;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    #[test]
    fn what_is_written_is_read_back() {
        let mut sheet = Sheet::new("t");
        sheet.column("who", Kind::Text).column("n", Kind::Whole).column("sum", Kind::Decimal).column("rate", Kind::Number);
        sheet.column("at", Kind::Time);
        let at = Timestamp(1_768_478_400_123_456);
        sheet.row(vec![Cell::text("=Ann, 红茶"), Cell::Whole(-3), Cell::Decimal("-1.50".into()), Cell::Number(0.25), Cell::Time(at)]);
        sheet.row(vec![Cell::Empty, Cell::Empty, Cell::Empty, Cell::Number(f64::NAN), Cell::Empty]);
        let bytes = write(&sheet).expect("written");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a parquet file");
        assert_eq!(reader.metadata().file_metadata().num_rows(), 2);
        let rows: Vec<_> = reader.get_row_iter(None).expect("rows").collect::<Result<_>>().expect("readable");
        assert_eq!(rows[0].get_string(0).expect("text"), "=Ann, 红茶");
        assert_eq!((rows[0].get_long(1).expect("whole"), rows[0].get_double(3).expect("number")), (-3, 0.25));
        assert_eq!(rows[0].get_string(2).expect("decimal"), "-1.50");
        assert_eq!(rows[0].get_timestamp_micros(4).expect("time"), at.0);
        for i in 0..5 {
            assert_eq!(rows[1].get_column_iter().nth(i).expect("a column").1, &parquet::record::Field::Null);
        }
        // An empty report is a file too.
        sheet.rows.clear();
        let empty = SerializedFileReader::new(bytes::Bytes::from(write(&sheet).expect("written"))).expect("a parquet file");
        assert_eq!(empty.metadata().file_metadata().num_rows(), 0);
    }
}
