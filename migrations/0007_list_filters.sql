-- What filters of lists compare. Attributes that equal something are found by the indexes of 0001.

-- Reads a search attribute as a point in time: RFC 3339 of the years 1 to 9999, cut to microseconds, as the engine reads it.
-- NULL for any other text.
CREATE FUNCTION dacapo.attribute_time_v1(attribute text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED AS $$
BEGIN
    IF attribute !~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?'
                     || '(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$') THEN
        RETURN NULL;
    END IF;
    RETURN regexp_replace(attribute, '([.][0-9]{6})[0-9]+', '\1')::timestamptz;
EXCEPTION WHEN data_exception THEN
    -- A day or a month that there is not.
    RETURN NULL;
END
$$;
